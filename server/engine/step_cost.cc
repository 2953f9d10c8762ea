// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_cost.h"

#include <algorithm>
#include <limits>

namespace hadal::engine {
namespace {

constexpr int kRemembered = 256;  // steps
constexpr int kFew = 16;
// Of the mean: steps that differ by less are alike.
constexpr double kLeastDeviation = 0.05;
// A step that took many times longer than others of its size (a page fault, a neighbour) counts as so many times.
constexpr double kMostSurprise = 4;

}  // namespace

void StepCost::Record(double tokens, double seconds) {
  if (steps_ >= kFew) {
    seconds = std::min(seconds, kMostSurprise * mean_seconds_ * std::max(1.0, tokens / mean_tokens_));
  }
  steps_ = std::min(steps_ + 1, kRemembered);
  const double weight = 1.0 / steps_;
  const double more_tokens = tokens - mean_tokens_;
  const double more_seconds = seconds - mean_seconds_;
  mean_tokens_ += weight * more_tokens;
  mean_seconds_ += weight * more_seconds;
  variance_ = (1 - weight) * (variance_ + weight * more_tokens * more_tokens);
  covariance_ = (1 - weight) * (covariance_ + weight * more_tokens * more_seconds);
}

double StepCost::TokensForShare(double share) const {
  const double least = kLeastDeviation * mean_tokens_;
  if (steps_ < kFew || variance_ <= least * least) return 0;
  const double token_s = covariance_ / variance_;
  const double step_s = std::max(0.0, mean_seconds_ - token_s * mean_tokens_);
  if (token_s <= 0) return std::numeric_limits<double>::infinity();
  return step_s / token_s * (1 / share - 1);
}

}  // namespace hadal::engine
