// SPDX-License-Identifier: Apache-2.0
// From reservation to queue: finalizing a ticket with the true size, and returning what it holds.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/admission.h"
#include "server/admission/admission_metrics.h"
#include "server/admission/model_state.h"

namespace hadal::admission {
namespace {

using request::Reason;

constexpr double kEstimatorStep = 0.05;

// The last sampled token is never read back, so it needs no slot.
int64_t KvTokens(int64_t prompt, int64_t output) { return prompt + std::max<int64_t>(output - 1, 0); }

// Output tokens of a request whose lease covers so many tokens.
int32_t CoveredTokens(int64_t tokens, const request::Request& request) {
  const int64_t output = tokens - static_cast<int64_t>(request.prompt.size()) + 1;
  return static_cast<int32_t>(std::clamp<int64_t>(output, 0, request.max_tokens));
}

// Whether the model could ever run the request, alone. `lease_bytes`: of KV cache, for its longest answer.
absl::Status CheckSize(const request::Request& request, const ModelLimits& limits, int64_t lease_bytes) {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt < 1) return request::MakeError(Reason::kInvalidRequest, "the prompt has no tokens", "prompt");
  if (request.max_tokens < 0 || request.n < 1) {
    return request::MakeError(Reason::kInvalidRequest,
                              absl::StrCat("max_tokens is ", request.max_tokens, " and n is ", request.n));
  }
  if (prompt + request.max_tokens > limits.max_model_len) {
    return request::MakeError(
        Reason::kContextLengthExceeded,
        absl::StrCat("This model's maximum context length is ", limits.max_model_len, " tokens. The prompt has ",
                     prompt, " and ", request.max_tokens, " more were requested."),
        "max_tokens");
  }
  if (lease_bytes > limits.pool->capacity_bytes()) {
    return request::MakeError(
        Reason::kRequestNeverFits,
        absl::StrCat("The request may need ", FormatBytes(lease_bytes), " of KV cache; this server has ",
                     FormatBytes(limits.pool->capacity_bytes()), " in all. Shorten the prompt or lower max_tokens."),
        "max_tokens");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AdmissionController::FinalizeTicket(Ticket& ticket, const request::Request& request, int model_index) {
  if (model_index < 0 || model_index >= static_cast<int>(models_.size())) {
    return request::MakeError(Reason::kInternal,
                              absl::StrCat("Finalize: model index ", model_index, " of ", models_.size()));
  }
  ModelState& model = *models_[model_index];
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  Settle(ticket, request.priority, prompt, model_index);
  if (ticket.evicted()) return RefuseEvicted({request.priority, request.id, prompt, ticket.retry_, ticket.returned_});
  const int64_t most_bytes = model.BlocksFor(KvTokens(prompt, request.max_tokens)) * model.limits.block_bytes;
  if (absl::Status status = CheckSize(request, model.limits, most_bytes); !status.ok()) return status;
  int32_t output = PredictOutput(model, request);
  int64_t wanted = LeaseBlocks(model, request, output);
  // Choices that do not fit side by side run one after the other, so more than the pool is never needed. A prompt that
  // is scored is computed whole.
  std::unique_ptr<PrefixHold> prefix;
  if (wanted <= model.pool_blocks() && !request.prompt_logprobs) {
    prefix = model.prefixes.Claim(request.prompt, request.cache_salt);
  }
  const int64_t shared = prefix != nullptr ? prefix->shared() : 0;
  const int64_t prompt_blocks = model.BlocksFor(prompt);
  if (const std::optional<int64_t> foreseen = model.foresight.Increase(request, shared); foreseen.has_value()) {
    wanted = *foreseen + shared;
    output = CoveredTokens(wanted * model.limits.block_tokens, request);
  }
  const int64_t bytes = (std::min(wanted, model.pool_blocks()) - shared) * model.limits.block_bytes;
  {
    base::MutexLock lock(&model.stats_mutex);
    model.mean_request.RecordLeased(static_cast<double>(prompt_blocks), static_cast<double>(shared));
    model.leased_share.store(model.mean_request.leased_share(), std::memory_order_relaxed);
  }
  int64_t kept_free = 0;
  if (ticket.returned_ != ReturnTiming::kInWindow) {
    const absl::Time now = options_.clock->Now();
    const RetryPlanner::Arrival arrival = planner_.Arrive(ticket.retry_, request.priority, now);
    const double left = model.LeftToFirstAttempts(arrival, ticket.retry_.attempt, bytes / model.limits.block_bytes);
    kept_free = std::max(model.KeptFreeBytes(arrival.kept_free.blocks + left),
                         LeftToOthers(model, request.priority, bytes, now));
  }
  absl::StatusOr<MemoryLease> lease = model.limits.pool->TryLease(bytes, kept_free);
  if (!lease.ok()) {
    MemoryLease none;
    if (prefix != nullptr) model.prefixes.Release(*prefix, none);
    return RefuseForMemory(model_index, {request.priority, request.id, prompt, ticket.retry_, ticket.returned_}, bytes,
                           /*expected_blocks=*/0, kept_free);
  }
  if (ticket.returned_ != ReturnTiming::kNone) metrics_->CountReturn(ticket.returned_, /*admitted=*/true);
  {
    base::MutexLock lock(&model.stats_mutex);
    const double blocks = static_cast<double>(bytes / model.limits.block_bytes);
    model.mean_request.Record(static_cast<double>(prompt), blocks,
                              std::max(0.0, blocks - static_cast<double>(prompt_blocks - shared)));
    model.output_blocks.store(model.mean_request.output_blocks, std::memory_order_relaxed);
  }
  metrics_->CountPromptBlocks(prompt_blocks - shared, shared);
  model.foresight.Add(request, shared);
  ticket.lease_ = *std::move(lease);
  ticket.prefix_ = std::move(prefix);
  ticket.model_index_ = model_index;
  ticket.prompt_tokens_ = prompt;
  ticket.predicted_output_ = output;
  ticket.finalized_ = true;
  return absl::OkStatus();
}

int32_t AdmissionController::PredictOutput(ModelState& model, const request::Request& request) {
  const LengthHistogram& lengths = model.lengths.For(request.priority, request.thinking);
  return std::max(request.least_tokens,
                  PredictOutputTokens(lengths.Curve(), model.quantile.quantile(), request.max_tokens));
}

int64_t AdmissionController::LeaseBlocks(const ModelState& model, const request::Request& request, int32_t output) {
  // The full blocks of the prompt are shared by the choices; the rest each has for itself. At least the last prompt
  // token is computed by each.
  const int64_t block_tokens = model.limits.block_tokens;
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t one = model.BlocksFor(KvTokens(prompt, output));
  const int64_t shared = (prompt - 1) / block_tokens;
  return one + (request.n - 1) * (one - shared);
}

void AdmissionController::CountWaiting(Slot& slot, int model_index) {
  slot.where.forecast_index = model_index;
  models_[model_index]->forecast.AddWaiting(slot.where.priority, slot.where.tokens);
}

void AdmissionController::Settle(Ticket& ticket, request::Priority priority, int64_t prompt_tokens, int model_index) {
  base::MutexLock lock(&mutex_);
  Slot& slot = *ticket.slot_;
  if (!ticket.evicted()) {
    const int64_t estimated = slot.where.tokens, queued_before = slots_.tokens();
    if (slot.where.forecast_index >= 0) {
      models_[slot.where.forecast_index]->forecast.RemoveWaiting(slot.where.priority, slot.where.tokens,
                                                                 /*started=*/false);
    }
    slots_.Settle(slot, priority, prompt_tokens);
    CountWaiting(slot, model_index);
    slot.where.model_index = model_index;
    const int64_t limit = options_.max_queue_tokens;
    if (limit > 0 && queued_before <= limit && slots_.tokens() > limit) metrics_->CountTokenOverrun();
    if (ticket.body_bytes_ > 0) metrics_->CountEstimate(estimated, prompt_tokens);
  }
  if (ticket.body_bytes_ <= 0) return;
  const double ratio = static_cast<double>(prompt_tokens) / static_cast<double>(ticket.body_bytes_);
  ticket.body_bytes_ = 0;  // the estimate is judged once, however often a request is tried in another form
  tokens_per_byte_ += kEstimatorStep * (std::clamp(ratio, 0.001, 2.0) - tokens_per_byte_);
}

void AdmissionController::ReturnSlot(Ticket& ticket, bool started) {
  const absl::Time now = options_.clock->Now();
  request::Priority priority;
  {
    base::MutexLock lock(&mutex_);
    const Slot& slot = *ticket.slot_;
    priority = slot.where.priority;
    if (!ticket.evicted() && slot.where.forecast_index >= 0) {
      models_[slot.where.forecast_index]->forecast.RemoveWaiting(priority, slot.where.tokens, started);
    }
    slots_.Return(std::move(ticket.slot_));
    if (started) {
      idle_refusals_since_ = absl::InfiniteFuture();
      departures_.Record(now, 1);
    }
  }
  if (!started) return;
  probing_.store(false, std::memory_order_relaxed);
  planner_.CountFree(/*places=*/1, /*blocks=*/0);
  planner_.CountStart({priority, ticket.admitted_, now});
}

void AdmissionController::ChargeServed(Ticket& ticket, request::Priority priority, int64_t prompt_tokens,
                                       int64_t output_tokens) {
  ModelState& model = *models_[ticket.model_index_];
  const double served = WeightedTokens(prompt_tokens, output_tokens);
  {
    base::MutexLock lock(&model.stats_mutex);
    model.mean_request.RecordComputed(static_cast<double>(ticket.prompt_tokens_), static_cast<double>(prompt_tokens));
  }
  base::MutexLock lock(&model.queue_mutex);
  model.queue.Charge(priority, ticket.tenant_, served - ticket.charged_);
  ticket.charged_ = served;
}

}  // namespace hadal::admission
