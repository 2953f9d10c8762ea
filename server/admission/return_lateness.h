// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "absl/time/time.h"

namespace hadal::admission {

// How long after a moment that clients were told they return, learned from arrivals of which nobody says whether they
// return: those who do come at nearly the same lateness, all others at any. So what stands out from the level of the
// later half is returns. Old promises fade over some hundreds. Not thread-safe.
class ReturnLateness {
 public:
  // Arrivals later than this are not looked at; the later half of it is taken for strangers.
  static constexpr absl::Duration kSpan = absl::Milliseconds(250);

  // An arrival so long after the moment of some promise, in [0, kSpan).
  void CountArrival(absl::Duration lateness);
  // The moment of a promise lies kSpan back.
  void CountMoment();

  // Enough promises were followed to tell.
  bool known() const { return moments_ >= kFewMoments; }
  // The share of the promises whose clients return at this kind of moment; 0: they have not been seen to.
  double share() const { return share_; }
  // They may return then: they have been seen to, or there are too many strangers to tell.
  bool possible() const { return possible_; }
  // Within which nearly all of those have come.
  absl::Duration tolerance() const { return tolerance_; }

 private:
  static constexpr size_t kBins = 50;  // kSpan in all
  static constexpr absl::Duration kBin = absl::Milliseconds(5);
  static constexpr double kFewMoments = 30;
  static constexpr double kManyMoments = 1000;
  static constexpr absl::Duration kFirstTolerance = absl::Milliseconds(20);

  void Learn();

  std::array<double, kBins> arrivals_ = {};
  double moments_ = 0;
  int unlearned_ = 0;
  double share_ = 0;
  bool possible_ = true;
  absl::Duration tolerance_ = kFirstTolerance;
};

}  // namespace hadal::admission
