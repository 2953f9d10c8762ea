// SPDX-License-Identifier: Apache-2.0
// Publish: what the phases decided goes to the streams, in order. A request's ticket and lease are returned before its
// stream is closed, so that whoever sees the end can rely on the room.
#include <algorithm>
#include <utility>

#include "server/engine/scheduler.h"
#include "server/request/refusal.h"

namespace hadal::engine {

void Scheduler::Publish() {
  for (Outgoing& out : outbox_) PublishOne(out);
  outbox_.clear();
  cache_.EndRound();
}

void Scheduler::PublishOne(Outgoing& out) {
  request::TokenStream& stream = out.request->stream();
  switch (out.kind) {
    case Outgoing::Kind::kStarted:
      stream.MarkStarted(out.request->started);
      return;
    case Outgoing::Kind::kScores:
      stream.PushPromptScores(std::move(out.request->prompt_scores));
      return;
    case Outgoing::Kind::kToken:
      stream.PushToken(std::move(out.token), now_);
      return;
    case Outgoing::Kind::kEnd:
      stream.EndChoice(out.end);
      return;
    case Outgoing::Kind::kClose:
      PublishClose(*out.request, out.status);
      return;
  }
}

void Scheduler::PublishClose(ActiveRequest& request, const absl::Status& status) {
  const absl::Time first = std::min(request.first_token, now_);
  RequestFacts facts;
  facts.priority = request.request->priority;
  facts.reason = request::GetErrorDetail(status).reason;
  facts.stage = StageOf(request);
  facts.usage = request.usage;
  facts.queue_time = request.started - request.request->arrival;
  facts.prefill_time = first - request.started;
  facts.decode_time = now_ - first;
  facts.total_time = now_ - request.request->arrival;
  facts.good = status.ok() && !request.cut_short && first <= request.request->first_token_by &&
               facts.queue_time <= admission_->options().wait_limits[static_cast<size_t>(facts.priority)];
  request.ticket.RecordServed(request.request->priority, request.usage.prompt_tokens - request.usage.cached_tokens,
                              request.usage.completion_tokens);
  request.ticket.Release();
  --closing_;
  request.stream().Close(status, request.usage, now_);
  observer_->OnEnded(facts);
  // Plans may still refer to its sequences: DeleteClosed frees it.
  const size_t index = request.index;
  pending_deletion_.push_back(std::move(requests_[index]));
  if (index + 1 != requests_.size()) {
    requests_[index] = std::move(requests_.back());
    requests_[index]->index = index;
  }
  requests_.pop_back();
}

void Scheduler::DeleteClosed(uint64_t launched, uint64_t committed) {
  for (std::unique_ptr<ActiveRequest>& request : pending_deletion_)
    kept_for_steps_.push_back({launched, std::move(request)});
  pending_deletion_.clear();
  while (!kept_for_steps_.empty() && kept_for_steps_.front().last_step <= committed) kept_for_steps_.pop_front();
}

}  // namespace hadal::engine
