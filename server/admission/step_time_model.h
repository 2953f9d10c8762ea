// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "server/admission/wait_forecast.h"

namespace hadal::admission {

// The work of a step and its duration.
struct StepSample {
  double sequences = 0;
  double context_tokens = 0;  // attended to by its sequences
  double prefill_tokens = 0;  // prompt tokens computed
  double seconds = 0;
};

// Fits StepTime to the steps as they run: recursive least squares that forgets over about a thousand steps. Before the
// first few steps it returns their average. About 0.1 us per step. Not thread-safe.
//
// This is the general model of a step's duration, used for forecasts and by the engine's StepTokenBudget. The engine's
// StepCost is a separate fit with two parameters for the fixed cost of full steps, which this model cannot separate.
class StepTimeModel {
 public:
  void Record(const StepSample& sample);
  // The best fit in which no part is negative. All 0 before the first step.
  StepTime Get() const;

 private:
  static constexpr int kParts = 4;
  using Vector = std::array<double, kParts>;

  Vector parts_ = {};                      // for scaled inputs
  std::array<Vector, kParts> cover_ = {};  // covariance of the parts, up to the noise
  int steps_ = 0;
};

}  // namespace hadal::admission
