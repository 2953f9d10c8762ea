// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hadal::engine {

// The fixed cost of a step: fits seconds = fixed + per_token * tokens to the last few hundred steps by least squares
// with exponential forgetting. Not thread-safe.
//
// Unlike admission's StepTimeModel, which predicts the duration of any step from four parameters, this one answers a
// single question (how large must a step be for its fixed cost not to matter) and needs only two, because full steps
// all have the same size and cannot tell four apart. StepTokenBudget is the upper limit of a step; this
// class says how far the scheduler may shorten one.
class StepCost {
 public:
  void Record(double tokens, double seconds);
  // The size in tokens of a step whose fixed cost is `share`, in (0, 1), of its time. Infinite when the duration does
  // not depend on the tokens; 0 while unknown, because there were too few steps or all had the same size.
  double TokensForShare(double share) const;

 private:
  int steps_ = 0;
  double mean_tokens_ = 0, mean_seconds_ = 0;
  double variance_ = 0, covariance_ = 0;
};

}  // namespace hadal::engine
