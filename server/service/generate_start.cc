// SPDX-License-Identifier: Apache-2.0
// The last step of a call before it runs: the response cache, the ticket, the queue, and answers to what is refused.
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "server/response_cache/replay_reader.h"
#include "server/service/call_key.h"
#include "server/service/generate_service.h"

namespace hadal::service {

using request::MakeError;
using request::Reason;

using response_cache::CacheControl;
using response_cache::CacheResult;
using response_cache::ResponseCache;
using response_cache::SharedOutput;

namespace {

response_cache::ReaderOptions ReaderOf(const PreparedCall& call, std::shared_ptr<request::Notifier> notifier) {
  return {.notifier = std::move(notifier),
          .priority = call.options.priority,
          .deadline = call.options.deadline,
          .first_token_by = call.options.first_token_by,
          .may_wait = call.options.may_wait};
}

}  // namespace

bool GenerateService::MayFindCached(const absl::Status& refusal) const {
  if (refusal.ok() || options_.response_cache == nullptr || !options_.response_cache->enabled()) return false;
  return request::WireErrorFor(request::GetErrorDetail(refusal).reason).capacity;
}

void GenerateService::OpenLookup(PreparedCall* call) const {
  ResponseCache* const cache = options_.response_cache;
  if (!call->options.cache.asks() || cache == nullptr || !cache->enabled()) return;
  if (!CheckCall(*call).ok()) return;  // Start tells
  response_cache::CacheKey key = KeyOf(*call, cache->shared());
  if (key.empty()) {
    cache->CountBypass();
    call->cache_result = CacheResult::kBypass;
    return;
  }
  call->cache_result = CacheResult::kMiss;
  call->lookup = cache->Open(std::move(key), call->options.cache);
}

absl::StatusOr<std::unique_ptr<ActiveCall>> GenerateService::Start(std::unique_ptr<PreparedCall> call,
                                                                   admission::Ticket ticket,
                                                                   std::shared_ptr<request::Notifier> notifier) {
  if (absl::Status status = CheckCall(*call); !status.ok()) return status;
  if (call->lookup != nullptr) {
    if (std::optional<ResponseCache::Answer> answer =
            options_.response_cache->Find(*call->lookup, ReaderOf(*call, notifier))) {
      return Answered(std::move(*call), *std::move(answer));
    }
  }
  if (call->options.cache.mode == CacheControl::Mode::kOnly) {
    if (call->lookup != nullptr) options_.response_cache->CountMiss();
    return MakeError(Reason::kNotCached, "x-hadal-cache is only-if-cached, and no answer to this request is stored");
  }
  absl::StatusOr<std::unique_ptr<request::Request>> built = BuildRequest(*call, /*stream=*/nullptr);
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
      rung = Climb(refusal, ticket, &call, &request);
      if (rung != Rung::kNone) {
        options_.admission->Withdraw(refusal);
        refusal = absl::OkStatus();
      }
    }
  }
  if (!refusal.ok()) return StartDegraded(std::move(*call), *request, std::move(refusal));
  return Enqueue(std::move(*call), std::move(request), std::move(ticket), rung, std::move(notifier));
}

GenerateService::Started GenerateService::Answered(PreparedCall&& call, ResponseCache::Answer answer) {
  ActiveCall::Options options = BuildCall(std::move(call), std::move(answer.reader));
  options.cache = answer.result;
  return std::make_unique<ActiveCall>(std::move(options));
}

GenerateService::Started GenerateService::StartDegraded(PreparedCall&& call, const request::Request& request,
                                                        absl::Status refusal) {
  if (!call.options.allow_degraded || !MayDegrade(refusal, call.options.upstream_first)) return refusal;
  std::optional<Degradation::Answer> answer = degradation_.Find(call, request);
  if (!answer.has_value()) return refusal;
  options_.admission->Withdraw(refusal);
  const CacheResult cache_result = call.cache_result;
  auto reader = std::make_shared<response_cache::ReplayReader>(std::move(answer->output));
  ActiveCall::Options options = BuildCall(std::move(call), std::move(reader));
  options.degraded = answer->rung;
  options.cache = cache_result;
  // A fixed text is content, whatever the model writes.
  if (answer->rung == Rung::kStatic) options.text.parser = {};
  return std::make_unique<ActiveCall>(std::move(options));
}

GenerateService::Started GenerateService::Enqueue(PreparedCall&& call, std::unique_ptr<request::Request> request,
                                                  admission::Ticket ticket, Rung rung,
                                                  std::shared_ptr<request::Notifier> notifier) {
  const int model_index = call.model->model_index;
  const CacheResult cache_result = call.cache_result;
  std::shared_ptr<SharedOutput> output;  // null: nobody else reads it
  std::shared_ptr<request::OutputReader> reader;
  if (rung == Rung::kNone && call.lookup != nullptr) {
    ResponseCache::Leadership led =
        options_.response_cache->Lead(*call.lookup, ReaderOf(call, notifier), options_.stream_capacity_tokens);
    if (led.output == nullptr) return Answered(std::move(call), std::move(led.answer));
    output = std::move(led.output);
    reader = std::move(led.answer.reader);
  } else if (response_cache::CacheKey key = rung == Rung::kNone ? degradation_.KeyToRecord(call) : ""; !key.empty()) {
    output = options_.response_cache->Record(std::move(key), request->priority, options_.stream_capacity_tokens);
    reader = output->Attach(ReaderOf(call, notifier), /*leader=*/true);
  }
  if (output == nullptr) {
    request->stream = std::make_shared<request::TokenStream>(options_.stream_capacity_tokens, std::move(notifier));
    reader = request->stream;
  } else {
    request->stream = output->stream();
    if (output->keeps_limits()) request->deadline = request->first_token_by = absl::InfiniteFuture();
  }
  std::string tenant = call.options.tenant;
  ActiveCall::Options options = BuildCall(std::move(call), std::move(reader));
  if (options.thinking_switch != nullptr) {
    options.thinking_registration =
        thinking_controls_.Add(options.request_id, std::move(tenant), options.thinking_switch);
  }
  options.degraded = rung;
  options.cache = cache_result;
  auto active = std::make_unique<ActiveCall>(std::move(options));
  absl::Status status = options_.admission->Enqueue(model_index, std::move(request), std::move(ticket));
  if (status.ok()) return active;
  if (output != nullptr) output->Fail(status);
  return status;
}

bool GenerateService::Replace(absl::StatusOr<std::unique_ptr<PreparedCall>> other, admission::Ticket& ticket,
                              std::unique_ptr<PreparedCall>* call, std::unique_ptr<request::Request>* request) {
  if (!other.ok() || !CheckCall(**other).ok()) return false;
  absl::StatusOr<std::unique_ptr<request::Request>> built = BuildRequest(**other, /*stream=*/nullptr);
  if (!built.ok() || !ticket.Finalize(**built, (*other)->model->model_index).ok()) return false;
  (*other)->cache_result = (*call)->cache_result;
  *call = *std::move(other);
  *request = *std::move(built);
  return true;
}

Rung GenerateService::Climb(const absl::Status& refusal, admission::Ticket& ticket, std::unique_ptr<PreparedCall>* call,
                            std::unique_ptr<request::Request>* request) {
  const int32_t max_tokens = (*request)->max_tokens;
  const int32_t min_tokens = (*request)->min_tokens;
  const int32_t least_tokens = (*request)->least_tokens;
  if (request::GetErrorDetail(refusal).reason != Reason::kGpuMemoryExhausted) return Rung::kNone;
  auto* const chat = std::get_if<ChatCall>(&(*call)->original);
  if (chat != nullptr && (*call)->thinking && degradation_.MayLowerEffort((*request)->priority)) {
    ChatCall lower = *chat;
    lower.thinking = false;
    lower.reasoning_effort = chat::ReasoningEffort::kDefault;
    lower.max_thinking_tokens.reset();
    absl::StatusOr<std::unique_ptr<PreparedCall>> other = PrepareChat(std::move(lower));
    // Some models cannot answer without reasoning.
    if (other.ok() && !(*other)->thinking && Replace(std::move(other), ticket, call, request)) {
      degradation_.Count(Rung::kReasoningEffort);
      return Rung::kReasoningEffort;
    }
  }
  if (degradation_.Shorten(request->get())) {
    if (ticket.Finalize(**request, (*call)->model->model_index).ok()) {
      degradation_.Count(Rung::kMaxTokens);
      return Rung::kMaxTokens;
    }
    (*request)->max_tokens = max_tokens;
    (*request)->min_tokens = min_tokens;
    (*request)->least_tokens = least_tokens;
  }
  const std::string& fallback = degradation_.fallback_model();
  if (fallback.empty() || (*call)->model->name == fallback) return Rung::kNone;
  absl::StatusOr<std::unique_ptr<PreparedCall>> other = absl::NotFoundError("no other model");
  if (chat != nullptr) {
    chat->options.model = fallback;
    other = PrepareChat(std::move(*chat));
  } else if (auto* plain = std::get_if<GenerateCall>(&(*call)->original)) {
    plain->options.model = fallback;
    other = PrepareGenerate(std::move(*plain));
  }
  if (!Replace(std::move(other), ticket, call, request)) return Rung::kNone;
  degradation_.Count(Rung::kModel);
  return Rung::kModel;
}

}  // namespace hadal::service
