// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "absl/time/time.h"

namespace hadal::admission {

// When those are told to return for whom no place can be promised. A storm refuses hundreds of them within a few
// seconds; at random times they would be back as a second storm, whose middle is refused again. So each is told, at
// random, one of the moments that no more than their share of the others were told. O(kBuckets). Not thread-safe.
class SurplusSpread {
 public:
  // How long from now one more is to wait: 20 to 30 seconds. `first_random`, `second_random`: in [0, 1), which of
  // those moments, and where in it.
  // `anonymous`: it will not be recognised when it returns.
  absl::Duration Next(absl::Time now, double first_random, double second_random, bool anonymous = false);
  // An anonymous caller is refused as surplus: the chance that it was before, and was told to return about now. In the
  // long run as many are told to return as there are first attempts, though nobody knows which these are.
  double ChanceOfReturn(absl::Time now);

 private:
  static constexpr absl::Duration kBucket = absl::Milliseconds(500);
  static constexpr int kBeforeFirst = 40;  // buckets until kFirst
  static constexpr int kBuckets = 20;      // from there to kLast
  static constexpr int kRing = kBeforeFirst + kBuckets + 1;

  void Advance(absl::Time now);

  std::array<int32_t, kRing> told_ = {};       // how many come then, by time
  std::array<int32_t, kRing> anonymous_ = {};  // of them, those that nobody will know
  double refused_per_bucket_ = 0;              // anonymous callers, a decayed average
  int64_t refused_ = 0;                        // in the bucket of the last call
  int64_t now_ = 0;                            // bucket of the last call
};

}  // namespace hadal::admission
