// SPDX-License-Identifier: Apache-2.0
// Commit: a finished step's tokens are appended, ended choices leave, and full blocks enter the prefix cache.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/check.h"
#include "server/base/strings.h"
#include "server/engine/scheduler.h"
#include "server/engine/stop.h"
#include "server/request/refusal.h"

namespace hadal::engine {

using request::FinishReason;

namespace {

std::vector<request::TokenLogprob> Convert(const std::vector<models::TokenLogprob>& from) {
  std::vector<request::TokenLogprob> to;
  to.reserve(from.size());
  for (const models::TokenLogprob& item : from) to.push_back({item.token_id, item.logprob});
  return to;
}

}  // namespace

void Scheduler::Commit(const BatchPlan& plan, const models::StepOutput& output, absl::Time now, BatchPlan& next) {
  now_ = now;
  const size_t sampled_before = outbox_.size();
  for (const PlanEntry& entry : plan.entries) CommitEntry(entry, output);
  DropEnded(next);
  RemoveEnded();
  int32_t tokens = 0;
  for (size_t i = sampled_before; i < outbox_.size(); ++i) tokens += outbox_[i].kind == Outgoing::Kind::kToken;
  if (tokens > 0) observer_->OnTokens(tokens);
}

void Scheduler::CommitEntry(const PlanEntry& entry, const models::StepOutput& output) {
  Sequence& sequence = *entry.sequence;
  if (sequence.state == SequenceState::kEnded) return;
  const int32_t results = entry.scores + (entry.samples ? 1 : 0);
  for (int32_t i = 0; i < results; ++i) {
    if (output.samples[entry.first_sample + i].faulty) {
      FailRow(sequence);
      return;
    }
  }
  if (entry.epoch == sequence.epoch) {
    sequence.computed = entry.start + entry.count;
    CacheFullBlocks(sequence);
    // Not when the next step was planned: until here this step's windows could not be registered.
    if (windows_.enabled()) windows_.Advance(sequence.window, sequence.computed);
  }
  CommitScores(entry, output);
  if (entry.samples) {
    --sequence.pending_samples;
    CommitToken(sequence, output.samples[entry.first_sample + entry.scores]);
  } else if (sequence.max_tokens == 0 && sequence.computed >= sequence.prompt_tokens) {
    // Only the prompt was asked for: all choices are done.
    for (const auto& choice : sequence.owner->choices) {
      if (choice->state != SequenceState::kEnded) EndChoice(*choice, FinishReason::kLength, -1);
    }
  }
}

void Scheduler::FailRow(Sequence& sequence) {
  // Nobody else may read what this sequence has written.
  for (const int32_t block : sequence.blocks) cache_.Forget(block);
  windows_.Forget(sequence.window);
  std::string message =
      absl::StrCat("the model gave no valid scores at token ", sequence.computed, " of choice ", sequence.choice);
  if (!sequence.constraint_error.ok()) {
    message = absl::StrCat("choice ", sequence.choice, ": ", sequence.constraint_error.message());
  } else if (sequence.constraint != nullptr) {
    absl::StrAppend(&message, ", or the grammar and logit_bias left none to choose from");
  }
  EndRequest(*sequence.owner, request::MakeError(request::Reason::kInternal, message), FinishReason::kError);
}

void Scheduler::CommitScores(const PlanEntry& entry, const models::StepOutput& output) {
  if (entry.scores == 0) return;
  ActiveRequest& request = *entry.sequence->owner;
  for (int32_t i = 0; i < entry.scores; ++i) {
    const models::SampleResult& result = output.samples[entry.first_sample + i];
    request.prompt_scores.push_back({0, result.token_id, result.logprob, Convert(result.top)});
  }
  if (static_cast<int32_t>(request.prompt_scores.size()) == entry.sequence->prompt_tokens - 1) {
    outbox_.push_back({Outgoing::Kind::kScores, &request, {}, {}, {}});
  }
}

void Scheduler::CommitToken(Sequence& sequence, const models::SampleResult& result) {
  ActiveRequest& request = *sequence.owner;
  sequence.tokens.push_back(result.token_id);
  sequence.sampling.OnToken(result.token_id);
  ++request.usage.completion_tokens;
  if (request.first_token == absl::InfiniteFuture()) {
    request.first_token = now_;
    observer_->OnFirstToken(request.request->priority, now_ - request.request->arrival);
  } else if (now_ > request.last_token) {
    observer_->OnInterToken(now_ - request.last_token);
  }
  request.last_token = now_;
  if (sequence.produced() > sequence.length_mark) {
    sequence.length_mark =
        admission_->RecordOutputProgress(model_index_, *request.request, sequence.length_mark, sequence.produced());
  }
  StopDecision stop = CheckStop(*request.request, result.token_id, sequence.produced());
  if (sequence.constraint != nullptr) {
    if (absl::Status status = sequence.constraint->Accept(result.token_id); !status.ok()) {
      EndRequest(request, request::MakeError(request::Reason::kInternal, base::StdView(status.message())),
                 FinishReason::kError);
      return;
    }
    if (sequence.constraint->ended()) stop = {FinishReason::kStop, /*deliver=*/false};
  }
  if (stop.deliver) {
    Outgoing& out = outbox_.emplace_back();
    out.kind = Outgoing::Kind::kToken;
    out.request = &request;
    out.token.choice = sequence.choice;
    out.token.token_id = result.token_id;
    if (request.request->top_logprobs >= 0) {
      out.token.logprob = result.logprob;
      out.token.top = Convert(result.top);
    }
  }
  if (stop.reason != FinishReason::kNone) EndChoice(sequence, stop.reason, stop.deliver ? -1 : result.token_id);
}

void Scheduler::CacheFullBlocks(Sequence& sequence) {
  const int32_t block_tokens = options_.block_tokens;
  const int32_t known = std::min(sequence.computed, static_cast<int32_t>(sequence.tokens.size()));
  while ((sequence.chain.blocks + 1) * block_tokens <= known) {
    const int32_t block = sequence.chain.blocks;
    const bool found_by_others =
        cache_.Insert(sequence.chain, sequence.owner->request->cache_salt,
                      absl::MakeConstSpan(sequence.tokens).subspan(size_t{1} * block * block_tokens, block_tokens),
                      sequence.blocks[block]);
    if (found_by_others && shares_leases_) sequence.owner->ticket.PublishPrefix(block);
    if (windows_.enabled() && !sequence.chain.broken) {
      windows_.Register(sequence.window, block, sequence.chain.node);
    }
  }
}

void Scheduler::DropEnded(BatchPlan& plan) {
  for (PlanEntry& entry : plan.entries) {
    if (entry.sequence->state != SequenceState::kRunning) entry.dropped = true;
  }
}

}  // namespace hadal::engine
