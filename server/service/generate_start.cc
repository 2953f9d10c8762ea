// SPDX-License-Identifier: Apache-2.0
// The last step of a call before it runs: the ticket, the queue, and what answers where admission refuses.
#include <utility>
#include <variant>

#include "server/service/generate_service.h"

namespace hadal::service {

using request::Reason;

absl::StatusOr<std::unique_ptr<ActiveCall>> GenerateService::Start(std::unique_ptr<PreparedCall> call,
                                                                   admission::Ticket ticket,
                                                                   std::shared_ptr<request::Notifier> notifier) {
  if (absl::Status status = CheckCall(*call); !status.ok()) return status;
  auto stream = std::make_shared<request::TokenStream>(options_.stream_capacity_tokens, std::move(notifier));
  absl::StatusOr<std::unique_ptr<request::Request>> built = BuildRequest(*call, stream);
  if (!built.ok()) return built.status();
  std::unique_ptr<request::Request> request = *std::move(built);
  if (options_.on_cache_salt != nullptr && !call->options.cache_salt.empty()) {
    options_.on_cache_salt(request->cache_salt, call->options.cache_salt);
  }
  Rung rung = Rung::kNone;
  absl::Status refusal = call->refusal;
  if (refusal.ok()) {
    refusal = ticket.Finalize(*request, call->model->model_index);
    if (!refusal.ok() && call->options.allow_degraded) {
      rung = Climb(refusal, ticket, stream, &call, &request);
      if (rung != Rung::kNone) refusal = absl::OkStatus();
    }
  }
  if (!refusal.ok()) {
    if (!call->options.allow_degraded || !MayDegrade(refusal)) return refusal;
    std::optional<Degradation::Answer> answer = degradation_.Find(*call, *request);
    if (!answer.has_value()) return refusal;
    ActiveCall::Options options = BuildCall(std::move(*call), stream);
    options.degraded = answer->rung;
    // A fixed text is content, whatever the model writes.
    if (answer->rung == Rung::kStatic) options.text.parser = {};
    auto active = std::make_unique<ActiveCall>(std::move(options));
    answer->output->ReplayInto(*stream);
    return active;
  }
  const int model_index = call->model->model_index;
  std::shared_ptr<OutputRecorder> recorder = rung == Rung::kNone ? degradation_.Record(*call, *request) : nullptr;
  std::string tenant = call->options.tenant;
  ActiveCall::Options options = BuildCall(std::move(*call), std::move(stream));
  if (options.thinking_switch != nullptr) {
    options.thinking_registration =
        thinking_controls_.Add(options.request_id, std::move(tenant), options.thinking_switch);
  }
  options.degraded = rung;
  options.recorder = std::move(recorder);
  auto active = std::make_unique<ActiveCall>(std::move(options));
  if (absl::Status status = options_.admission->Enqueue(model_index, std::move(request), std::move(ticket));
      !status.ok()) {
    return status;
  }
  return active;
}

Rung GenerateService::Climb(const absl::Status& refusal, admission::Ticket& ticket,
                            std::shared_ptr<request::TokenStream> stream, std::unique_ptr<PreparedCall>* call,
                            std::unique_ptr<request::Request>* request) {
  const int32_t max_tokens = (*request)->max_tokens;
  const int32_t min_tokens = (*request)->min_tokens;
  if (request::GetErrorDetail(refusal).reason != Reason::kGpuMemoryExhausted) return Rung::kNone;
  if (degradation_.Shorten(request->get())) {
    if (ticket.Finalize(**request, (*call)->model->model_index).ok()) {
      degradation_.Count(Rung::kMaxTokens);
      return Rung::kMaxTokens;
    }
    (*request)->max_tokens = max_tokens;
    (*request)->min_tokens = min_tokens;
  }
  absl::StatusOr<std::unique_ptr<PreparedCall>> other = absl::NotFoundError("no other model");
  if (auto* chat = std::get_if<ChatCall>(&(*call)->original)) other = PrepareChat(std::move(*chat));
  if (auto* plain = std::get_if<GenerateCall>(&(*call)->original)) other = PrepareGenerate(std::move(*plain));
  if (!other.ok() || !CheckCall(**other).ok()) return Rung::kNone;
  absl::StatusOr<std::unique_ptr<request::Request>> built = BuildRequest(**other, std::move(stream));
  if (!built.ok() || !ticket.Finalize(**built, (*other)->model->model_index).ok()) return Rung::kNone;
  *call = *std::move(other);
  *request = *std::move(built);
  degradation_.Count(Rung::kModel);
  return Rung::kModel;
}

}  // namespace hadal::service
