// SPDX-License-Identifier: Apache-2.0
#include "server/admission/lease_period.h"

namespace hadal::admission {

void LeasePeriod::Begin(absl::Time now) {
  ends_at_ = now + kLength;
  steps_ = tokens_ = recomputed_ = used_blocks_ = 0;
}

std::optional<LeasePeriod::Outcome> LeasePeriod::Record(const LeaseFit& fit, absl::Time now) {
  // The first step, or one after a rest: what happened before it says nothing about now.
  if (now > ends_at_ + kLength) {
    Begin(now);
    refusals_.store(0, std::memory_order_relaxed);
  }
  ++steps_;
  tokens_ += fit.tokens;
  recomputed_ += fit.recomputed_tokens;
  used_blocks_ += fit.used_blocks;
  if (now < ends_at_) return std::nullopt;
  const Outcome outcome = {
      .recomputed = tokens_ > 0 ? static_cast<double>(recomputed_) / static_cast<double>(tokens_) : 0,
      .idle = 1 - static_cast<double>(used_blocks_) / static_cast<double>(steps_ * pool_blocks_),
      .refused = refusals_.exchange(0, std::memory_order_relaxed) > 0};
  Begin(now);
  return outcome;
}

}  // namespace hadal::admission
