// SPDX-License-Identifier: Apache-2.0
#include "server/admission/ghosts.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

// Of the logarithm, a value: large at first, so that a wrong forecast is mended within some ten values.
constexpr double kFirstStep = 0.2;
constexpr double kLastStep = 0.02;

}  // namespace

void RunningQuantile::Record(double value) {
  ++samples_;
  const double step = std::max(kLastStep, kFirstStep / std::sqrt(samples_));
  // In balance, q of the values are below.
  value_ *= std::exp(2 * step * (value > value_ ? q_ : q_ - 1));
  value_ = std::clamp(value_, low_, high_);
}

bool Ghosts::TurnHasCome(const Ghost& ghost, const CapacityTotals& totals) const {
  double wanted = 0;
  for (size_t i = 0; i <= static_cast<size_t>(ghost.priority); ++i) {
    wanted += totals.arrivals[i] - ghost.before.arrivals[i];
  }
  const auto left = [&](double capacity, double taken) { return std::max(kept_ * capacity, capacity - taken); };
  return left(totals.places - ghost.before.places, wanted) >= ghost.need_places &&
         left(totals.blocks - ghost.before.blocks, wanted * ghost.blocks_per_request) >= ghost.need_blocks;
}

std::vector<Ghosts::Verdict> Ghosts::Update(absl::Time now, const CapacityTotals& totals, absl::Time idle_at) {
  std::vector<Verdict> verdicts;
  std::erase_if(ghosts_, [&](Waiting& waiting) {
    const Ghost& ghost = waiting.ghost;
    Verdict& verdict = waiting.verdict;
    const absl::Duration waited = now - ghost.told;
    const bool rested = idle_at > ghost.told;
    const bool timed = ghost.forecast < absl::InfiniteDuration();
    if (timed && verdict.ratio == 0 &&
        (rested || TurnHasCome(ghost, totals) || waited >= kWorstRatio * ghost.forecast)) {
      verdict.ratio = absl::FDivDuration(waited, ghost.forecast);
      verdict.error = absl::FDivDuration(ghost.estimate, waited) - 1;
      kappa_[static_cast<size_t>(ghost.priority)].Record(verdict.ratio);
      median_[static_cast<size_t>(ghost.priority)].Record(verdict.ratio);
    }
    // Its turn is that among those who return; the server may come to rest after it, and yet in time.
    verdict.served_in_time = rested && idle_at < ghost.told + ghost.useful;
    const bool decided = verdict.served_in_time || waited >= ghost.useful;
    if (!decided || (timed && verdict.ratio == 0)) return false;
    verdicts.push_back(verdict);
    return true;
  });
  return verdicts;
}

}  // namespace hadal::admission
