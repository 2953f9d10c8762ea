// SPDX-License-Identifier: Apache-2.0
#include "server/admission/quantile_controller.h"

#include <algorithm>
#include <optional>

namespace hadal::admission {

void QuantileController::Record(const LeaseFit& fit, absl::Time now) {
  const std::optional<LeasePeriod::Outcome> outcome = period_.Record(fit, now);
  if (!outcome.has_value()) return;
  const double before = quantile();
  double after = before;
  if (outcome->recomputed > kMaxRecomputed) {
    after = std::min(before + kRise, std::max(before, kHighest));
  } else if (outcome->idle > kMaxIdle && outcome->refused) {
    after = std::max(before - kFall, std::min(before, kLowest));
  }
  quantile_.store(after, std::memory_order_relaxed);
}

}  // namespace hadal::admission
