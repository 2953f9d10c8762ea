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

void Ghosts::Follow(const SeenRoom& room, Waiting& waiting) const {
  const Ghost& ghost = waiting.ghost;
  for (const StartedRequest& start : starts_) {
    if (start.admitted <= ghost.told || start.priority < ghost.priority) continue;
    waiting.turn = std::min(waiting.turn, start.started);
    if (start.priority != ghost.priority) continue;
    const absl::Duration waited = start.started - start.admitted;
    const absl::Duration delay = static_cast<double>(waiting.refused_before + 1) * ghost.flow;
    waiting.displaces = waiting.displaces || waited + delay > ghost.wait_limit;
  }
  const absl::Time start = room.start[static_cast<size_t>(ghost.priority)];
  if (start > ghost.told) waiting.turn = std::min(waiting.turn, start);
}

bool Ghosts::Decide(absl::Time now, absl::Time idle_at, Waiting& waiting) {
  const Ghost& ghost = waiting.ghost;
  const absl::Duration waited = now - ghost.told;
  if (ghost.wait_limit == absl::InfiniteDuration()) {
    waiting.verdict.served_in_time = idle_at > ghost.told && idle_at < ghost.told + ghost.useful;
    return waiting.verdict.served_in_time || waited >= ghost.useful;
  }
  if (waiting.displaces) return true;
  const absl::Time latest = ghost.told + ghost.wait_limit - static_cast<double>(waiting.refused_before) * ghost.flow;
  if (std::min(now, waiting.turn) > latest) return true;
  if (waiting.turn > now) return false;
  // Those behind it are in time if they have started by then, or if the server has been idle since.
  waiting.verdict.served_in_time = idle_at > waiting.turn || waited >= 2 * ghost.wait_limit;
  return waiting.verdict.served_in_time;
}

std::vector<Ghosts::Verdict> Ghosts::Update(absl::Time now, const CapacityTotals& totals, const SeenRoom& room) {
  std::vector<Verdict> verdicts;
  std::erase_if(ghosts_, [&](Waiting& waiting) {
    const Ghost& ghost = waiting.ghost;
    Verdict& verdict = waiting.verdict;
    const absl::Duration waited = now - ghost.told;
    const bool rested = room.idle > ghost.told;
    const bool timed = ghost.forecast < absl::InfiniteDuration();
    if (timed && verdict.ratio == 0 &&
        (rested || TurnHasCome(ghost, totals) || waited >= kWorstRatio * ghost.forecast)) {
      verdict.ratio = absl::FDivDuration(waited, ghost.forecast);
      verdict.error = absl::FDivDuration(ghost.estimate, waited) - 1;
      kappa_[static_cast<size_t>(ghost.priority)].Record(verdict.ratio);
      median_[static_cast<size_t>(ghost.priority)].Record(verdict.ratio);
    }
    Follow(room, waiting);
    // That was its turn among those who return, who have a share of the capacity; this is the one in the queue.
    if (!Decide(now, room.idle, waiting) || (timed && verdict.ratio == 0)) return false;
    verdicts.push_back(verdict);
    return true;
  });
  starts_.clear();
  for (size_t i = 0; i < refused_.size(); ++i) {
    if (room.start[i] > seen_.start[i]) refused_[i] = 0;
  }
  seen_ = room;
  return verdicts;
}

}  // namespace hadal::admission
