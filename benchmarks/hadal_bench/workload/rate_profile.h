// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::bench {

// The offered rate over a run: constant pieces ("5", "7,20@30,7@60": from second 30 on 20/s) or a line over the whole
// duration ("5..50"). Immutable.
class RateProfile {
 public:
  // InvalidArgument says what is accepted and what was found. Rates are requests per second.
  static absl::StatusOr<RateProfile> Parse(std::string_view text, double duration_s);
  static RateProfile Constant(double rate, double duration_s);

  double RateAt(double t_s) const;
  // Expected number of arrivals in [0, t).
  double Cumulative(double t_s) const;
  // The time at which Cumulative reaches `count`; infinity where that is behind the duration.
  double InverseCumulative(double count) const;
  double duration_s() const { return duration_s_; }
  RateProfile Scaled(double factor) const;

 private:
  // From `from_s` to the next piece's start the rate goes linearly from `begin` to `end`.
  struct Piece {
    double from_s, to_s, begin, end;
    double CountUntil(double t_s) const;
  };
  std::vector<Piece> pieces_;
  double duration_s_ = 0;
};

}  // namespace hadal::bench
