// SPDX-License-Identifier: Apache-2.0
#include "server/admission/return_lateness.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

constexpr int kLearnEvery = 8;       // moments
constexpr double kLeastShare = 0.2;  // of the promises, that must return at a kind of moment for it to count
constexpr double kDeviations = 4;    // from chance, of what is seen to return
constexpr double kUnseenDeviations = 2;

}  // namespace

void ReturnLateness::CountArrival(absl::Duration lateness) {
  if (lateness < absl::ZeroDuration() || lateness >= kSpan) return;
  ++arrivals_[std::min(kBins - 1, static_cast<size_t>(absl::FDivDuration(lateness, kBin)))];
}

void ReturnLateness::CountMoment() {
  ++moments_;
  if (++unlearned_ < kLearnEvery || moments_ < kFewMoments) return;
  unlearned_ = 0;
  Learn();
  if (moments_ < kManyMoments) return;
  moments_ /= 2;
  for (double& count : arrivals_) count /= 2;
}

void ReturnLateness::Learn() {
  constexpr size_t kHalf = kBins / 2;
  double strangers = 0;  // in a bin
  for (size_t i = kHalf; i < kBins; ++i) strangers += arrivals_[i] / (kBins - kHalf);
  double variance = std::max(1.0, strangers);
  for (size_t i = kHalf; i < kBins; ++i) variance += std::pow(arrivals_[i] - strangers, 2) / (kBins - kHalf);
  // The time from the moment on whose arrivals are least likely to be strangers.
  double returned = 0, deviations = 0, best = 0;
  size_t end = 0;  // bins
  for (size_t i = 0; i < kHalf; ++i) {
    returned += arrivals_[i] - strangers;
    const double here = returned / std::sqrt(static_cast<double>(i + 1) * variance);
    if (here <= deviations) continue;
    deviations = here;
    best = returned;
    end = i + 1;
  }
  // And the stragglers after it.
  double more = 0;
  const size_t first = end;
  for (size_t i = first; i < std::min(kHalf, 2 * first + 1); ++i) {
    more += arrivals_[i] - strangers;
    if (more <= 2 * std::sqrt(static_cast<double>(i + 1 - first) * variance)) continue;
    best += more;
    more = 0;
    end = i + 1;
  }
  share_ = 0;
  tolerance_ = kFirstTolerance;
  if (deviations < kDeviations || best < kLeastShare * moments_) {
    // Nobody, unless so many strangers come that the few would not be seen.
    const double unseen = kUnseenDeviations * std::sqrt(absl::FDivDuration(kFirstTolerance, kBin) * variance);
    possible_ = unseen > kLeastShare * moments_;
    return;
  }
  possible_ = true;
  share_ = best / moments_;
  tolerance_ = static_cast<double>(end) * kBin;
}

}  // namespace hadal::admission
