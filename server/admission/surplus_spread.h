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
  absl::Duration Next(absl::Time now, double first_random, double second_random);

 private:
  static constexpr absl::Duration kBucket = absl::Milliseconds(500);
  static constexpr int kBeforeFirst = 40;  // buckets until kFirst
  static constexpr int kBuckets = 20;      // from there to kLast
  static constexpr int kRing = kBeforeFirst + kBuckets + 1;

  std::array<int32_t, kRing> told_ = {};  // how many come then, by time
  int64_t now_ = 0;                       // bucket of the last call
};

}  // namespace hadal::admission
