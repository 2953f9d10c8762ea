// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hadal::engine {

// What a step costs besides its tokens: a line through the lengths of the last few hundred steps, least squares with
// exponential forgetting. Two parameters on purpose: admission's StepTimeModel explains a step by more, which full
// steps, all of a size, cannot tell apart. Not thread-safe.
class StepCost {
 public:
  void Record(double tokens, double seconds);
  // Tokens of a step of whose time what it costs besides them is `share`, in (0, 1). Infinite when steps take as long
  // whatever they hold; 0 while it is not known, because the steps were too few or all alike.
  double TokensForShare(double share) const;

 private:
  int steps_ = 0;
  double mean_tokens_ = 0, mean_seconds_ = 0;
  double variance_ = 0, covariance_ = 0;
};

}  // namespace hadal::engine
