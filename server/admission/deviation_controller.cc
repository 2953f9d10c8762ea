// SPDX-License-Identifier: Apache-2.0
#include "server/admission/deviation_controller.h"

#include <algorithm>
#include <optional>

namespace hadal::admission {

void DeviationController::Record(const LeaseFit& fit, absl::Time now) {
  const std::optional<LeasePeriod::Outcome> outcome = period_.Record(fit, now);
  if (!outcome.has_value()) return;
  const double above = std::min(outcome->recomputed, kMostCounted) - kGoal;
  if (above <= 0 && !(outcome->refused && outcome->idle > kMaxIdle)) return;
  deviations_.store(std::clamp(deviations() + kGain * above, kLeast, kMost), std::memory_order_relaxed);
}

}  // namespace hadal::admission
