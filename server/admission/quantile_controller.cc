// SPDX-License-Identifier: Apache-2.0
#include "server/admission/quantile_controller.h"

#include <algorithm>

namespace hadal::admission {

void QuantileController::Record(const LeaseFit& fit, absl::Time now) {
  // The first step, or one after a rest: what happened before it says nothing about now.
  if (now > decides_at_ + kPeriod) {
    decides_at_ = now + kPeriod;
    steps_ = tokens_ = recomputed_ = used_blocks_ = 0;
    refusals_.store(0, std::memory_order_relaxed);
  }
  ++steps_;
  tokens_ += fit.tokens;
  recomputed_ += fit.recomputed_tokens;
  used_blocks_ += fit.used_blocks;
  if (now < decides_at_) return;
  Decide();
  decides_at_ = now + kPeriod;
  steps_ = tokens_ = recomputed_ = used_blocks_ = 0;
}

void QuantileController::Decide() {
  const int64_t refusals = refusals_.exchange(0, std::memory_order_relaxed);
  const double recomputed = tokens_ > 0 ? static_cast<double>(recomputed_) / static_cast<double>(tokens_) : 0;
  const double idle = 1 - static_cast<double>(used_blocks_) / static_cast<double>(steps_ * pool_blocks_);
  const double before = quantile();
  double after = before;
  if (recomputed > kMaxRecomputed) {
    after = std::min(before + kRise, std::max(before, kHighest));
  } else if (idle > kMaxIdle && refusals > 0) {
    after = std::max(before - kFall, std::min(before, kLowest));
  }
  quantile_.store(after, std::memory_order_relaxed);
}

}  // namespace hadal::admission
