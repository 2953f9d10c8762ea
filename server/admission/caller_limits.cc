// SPDX-License-Identifier: Apache-2.0
#include "server/admission/caller_limits.h"

namespace hadal::admission {
namespace {

using request::Reason;

// The forecast knows sizes of prompts, not this very prompt: only what lies clearly below it is certain.
constexpr double kCertainlyTooShort = 0.5;

// What is not foreseen within the horizon may still come before a limit that lies behind it.
bool Exceeds(absl::Duration predicted, absl::Duration limit) {
  return predicted == absl::InfiniteDuration() ? limit <= kForecastHorizon : predicted > limit;
}

}  // namespace

LimitVerdict Judge(const CallerLimits& limits, const WaitPrediction& prediction, absl::Duration idle, absl::Time now) {
  LimitVerdict verdict;
  if (!prediction.known) return verdict;
  verdict.left = limits.FirstBy() - now;
  // A body may have come late: that does not make the deadline a mistake.
  const absl::Duration allowed = limits.FirstBy() - std::min(limits.arrival, now);
  if (allowed < idle * kCertainlyTooShort) {
    verdict.reason = Reason::kRequestNeverFits;
  } else if (Exceeds(prediction.first_token, verdict.left)) {
    verdict.reason = Reason::kDeadlineInfeasible;
    verdict.excess = prediction.first_token - verdict.left;
  } else if (!limits.may_wait && prediction.start > absl::ZeroDuration()) {
    verdict.reason = Reason::kWaitLimit;
    verdict.excess = prediction.start;
  }
  return verdict;
}

}  // namespace hadal::admission
