// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "server/admission/wait_forecast.h"

namespace hadal::admission {

// What a step did and how long it took.
struct StepSample {
  double sequences = 0;
  double context_tokens = 0;  // that its sequences looked back on
  double prefill_tokens = 0;  // prompt tokens computed
  double seconds = 0;
};

// Fits StepTime to the steps as they run: recursive least squares that forgets over about a thousand steps. Until the
// first few it says what the average says. About 0.1 us a step. Not thread-safe.
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
