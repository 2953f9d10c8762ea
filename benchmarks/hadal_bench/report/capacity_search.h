// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

namespace hadal::bench {

// Looks for the highest rate that still meets a condition: doubles while it is met (halves until it is), then closes in
// by the geometric mean. Ask for NextRate, measure there, tell with Add; done when NextRate has nothing.
class CapacitySearch {
 public:
  // Stops when the lowest rate that failed is at most `precision` (as 0.05) above the highest that was met, or after
  // `max_points` points.
  CapacitySearch(double start_rate, double precision, int max_points)
      : next_(start_rate), precision_(precision), points_left_(max_points) {}

  std::optional<double> NextRate() const;
  void Add(double rate, bool met);
  // The highest rate that met the condition below every rate that did not; 0 when none did.
  double capacity() const { return met_; }
  // Whether a rate above the capacity was seen to fail; without one the capacity is only a lower bound.
  bool bounded() const { return failed_ > 0; }

 private:
  double next_;
  const double precision_;
  int points_left_;
  double met_ = 0, failed_ = 0;  // 0: none yet
};

}  // namespace hadal::bench
