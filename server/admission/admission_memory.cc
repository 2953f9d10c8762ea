// SPDX-License-Identifier: Apache-2.0
// Memory besides the lease that Finalize takes: whether there is any at the door, more of it for an answer that grows,
// and its return.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/admission.h"
#include "server/admission/admission_metrics.h"
#include "server/admission/model_state.h"
#include "server/base/strings.h"

namespace hadal::admission {
namespace {

using request::Reason;

// Of those that memory is too short for, unless they share a prompt: so often one has its prompt looked at.
constexpr absl::Duration kSharerPeriod = absl::Milliseconds(10);
// The share of the memory that a batch leaves to other classes while requests of these come: more than one in a minute.
constexpr int64_t kLeftShare = 4;
constexpr double kOthersPerSecond = 1.0 / 60;

}  // namespace

bool AdmissionController::MayBeSharer(ModelState& model, bool take) const {
  if (model.prefixes.empty()) return false;
  const int64_t now = absl::ToUnixMicros(options_.clock->Now());
  int64_t due = model.next_sharer_us.load(std::memory_order_relaxed);
  if (now < due) return false;
  return !take || model.next_sharer_us.compare_exchange_strong(due, now + absl::ToInt64Microseconds(kSharerPeriod));
}

absl::Status AdmissionController::CheckMemoryEarly(const Subject& subject, double kept_free_blocks, bool take) {
  // The model is not known yet, and the tokens are an estimate: refuse only what every model lacks room for now,
  // although one could hold it when empty. What can never fit is refused by Finalize, which knows the exact size.
  int candidate = -1;
  int64_t required = 0;
  for (size_t i = 0; i < models_.size(); ++i) {
    const ModelState& model = *models_[i];
    const int64_t blocks = model.BlocksFor(subject.prompt_tokens);
    if (blocks > model.pool_blocks()) continue;
    // What it shares is known with its tokens: here it is taken to share as much as others did.
    const auto own = static_cast<int64_t>(static_cast<double>(blocks) * model.leased_share);
    const int64_t bytes = own * model.limits.block_bytes;
    if (bytes + model.KeptFreeBytes(kept_free_blocks) <= model.limits.pool->available_bytes()) return absl::OkStatus();
    if (MayBeSharer(*models_[i], take)) return absl::OkStatus();
    if (candidate < 0 || bytes < required) {
      candidate = static_cast<int>(i);
      required = bytes;
    }
  }
  if (candidate < 0) return absl::OkStatus();
  // It will lease more than its prompt.
  return RefuseForMemory(candidate, subject, required, models_[candidate]->ExpectedLease(subject.prompt_tokens));
}

absl::Status AdmissionController::RefuseForMemory(int model_index, const Subject& subject, int64_t required_bytes,
                                                  int64_t expected_blocks, int64_t kept_free) {
  ModelState& model = *models_[model_index];
  model.deviation.CountRefusal();
  model.quantile.CountRefusal();
  const int64_t available = std::max<int64_t>(0, model.limits.pool->available_bytes() - kept_free);
  LogFields fields;
  fields.required_bytes = required_bytes;
  fields.available_bytes = available;
  const std::string need =
      absl::StrCat("requires ", FormatBytes(required_bytes), " but only ", FormatBytes(available), " available");
  return Refuse(Reason::kGpuMemoryExhausted, subject, absl::StrCat("GPU memory exhausted, request ", need),
                absl::StrCat("GPU_MEMORY_EXHAUSTED: Request ", base::View(subject.request_id), " ", need),
                PlanReturn(subject, model_index, std::max(required_bytes / model.limits.block_bytes, expected_blocks)),
                std::move(fields), absl::StrCat("engine_", model_index));
}

int64_t AdmissionController::LeftToOthers(const ModelState& model, request::Priority priority, int64_t bytes,
                                          absl::Time now) const {
  if (priority != request::Priority::kBatch) return 0;
  double others = 0;
  {
    base::MutexLock lock(&mutex_);
    for (size_t i = 0; i < static_cast<size_t>(request::Priority::kBatch); ++i) others += arrivals_[i].PerSecond(now);
  }
  if (others < kOthersPerSecond) return 0;
  // What needs more than the rest may run once nothing else has memory.
  const int64_t pool = model.limits.pool->capacity_bytes();
  return std::clamp<int64_t>(pool - bytes, 0, pool / kLeftShare);
}

int32_t AdmissionController::Extend(Ticket& ticket, const request::Request& request, int32_t produced,
                                    int32_t overrun) {
  ModelState& model = *models_[ticket.model_index_];
  KvPoolLedger& pool = *model.limits.pool;
  const int64_t block_bytes = model.limits.block_bytes;
  const int64_t leased = ticket.leased_blocks();
  // What is promised to clients that return is theirs.
  const int64_t kept_free = model.KeptFreeBytes(planner_.Held(options_.clock->Now()).blocks);
  const auto lease = [&](int64_t blocks) {
    absl::StatusOr<MemoryLease> more = pool.TryLease(blocks * block_bytes, kept_free);
    if (!more.ok()) return false;
    ticket.lease_.Merge(*std::move(more));
    planner_.CountFree(/*places=*/0, -blocks);
    return true;
  };
  if (model.foresight.Knows(request)) {
    // Only this thread changes what others share of its prompt.
    const int64_t shared = ticket.prefix_ != nullptr ? ticket.prefix_->shared() : 0;
    const int64_t more = model.foresight.Share(request, produced, shared).value_or(leased) - leased;
    if (more <= 0) {
      ticket.lease_.Split(-more * block_bytes).Release();
      planner_.CountFree(/*places=*/0, -more);
      return 0;
    }
    // Others may take blocks between the question and the lease; then the next block asks again.
    const int64_t free = std::max<int64_t>(0, pool.available_bytes() - kept_free) / block_bytes;
    metrics_->CountExtension(lease(std::min(more, free)) && more <= free);
    return 0;
  }
  if (overrun <= 0) return 0;
  const int32_t most = std::max(request.max_tokens - produced, 1);
  const LengthCurve lengths = model.lengths.For(request.priority, request.thinking).Curve();
  double more = lengths.RemainingQuantile(produced, model.quantile.quantile());
  // Nothing seen: as on a cold start.
  if (more < 0) more = std::min(most / 2 + most % 2, kColdStartTokens);
  more = std::max<double>(more, request.least_tokens - produced);
  const int64_t tokens = std::clamp(static_cast<int32_t>(std::ceil(more)), 1, most);
  const int64_t blocks = model.BlocksFor(overrun + tokens);
  const bool granted = lease(blocks);
  metrics_->CountExtension(granted);
  return granted ? static_cast<int32_t>(blocks * model.limits.block_tokens) : 0;
}

void AdmissionController::ReturnLease(Ticket& ticket) {
  // What others count on stays leased.
  if (ticket.prefix_ != nullptr) models_[ticket.model_index_]->prefixes.Release(*ticket.prefix_, ticket.lease_);
  ticket.prefix_.reset();
  if (ticket.lease_.bytes() > 0) planner_.CountFree(/*places=*/0, ticket.leased_blocks());
  ticket.lease_.Release();
}

void AdmissionController::RecordLeaseFit(int model_index, const LeaseFit& fit) {
  const absl::Time now = options_.clock->Now();
  models_[model_index]->deviation.Record(fit, now);
  models_[model_index]->quantile.Record(fit, now);
}

int32_t AdmissionController::BlockLimit(int model_index) const {
  const ModelLimits& limits = models_[model_index]->limits;
  return static_cast<int32_t>(std::min<int64_t>(limits.pool->limit_bytes() / limits.block_bytes, INT32_MAX));
}

double AdmissionController::output_quantile(int model_index) const { return models_[model_index]->quantile.quantile(); }

}  // namespace hadal::admission
