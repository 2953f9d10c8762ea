// SPDX-License-Identifier: Apache-2.0
#include "server/admission/deviation_controller.h"

#include <algorithm>

namespace hadal::admission {

void DeviationController::Record(const LeaseFit& fit, absl::Time now) {
  // The first step, or one after a rest: what happened before it says nothing about now.
  if (now > decides_at_ + kPeriod) {
    decides_at_ = now + kPeriod;
    steps_ = tokens_ = recomputed_ = used_blocks_ = 0;
    refusals_.store(0, std::memory_order_relaxed);
  }
  ++steps_;
  used_blocks_ += fit.used_blocks;
  tokens_ += fit.tokens;
  recomputed_ += fit.recomputed_tokens;
  if (now < decides_at_) return;
  Decide();
  decides_at_ = now + kPeriod;
  steps_ = tokens_ = recomputed_ = used_blocks_ = 0;
}

void DeviationController::Decide() {
  const bool refused = refusals_.exchange(0, std::memory_order_relaxed) > 0;
  const double share = tokens_ > 0 ? static_cast<double>(recomputed_) / static_cast<double>(tokens_) : 0;
  const double above = std::min(share, kMostCounted) - kGoal;
  const double idle = 1 - static_cast<double>(used_blocks_) / static_cast<double>(steps_ * pool_blocks_);
  if (above <= 0 && !(refused && idle > kMaxIdle)) return;
  deviations_.store(std::clamp(deviations() + kGain * above, kLeast, kMost), std::memory_order_relaxed);
}

}  // namespace hadal::admission
