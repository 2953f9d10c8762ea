// SPDX-License-Identifier: Apache-2.0
#include "server/http/body_pace.h"

#include <limits>

#include "gtest/gtest.h"

namespace hadal::http {
namespace {

using std::chrono::seconds;

constexpr BodyPace::TimePoint kBegin{seconds(1000)};
const BodyPace::Limits kLimits{
    .stall_timeout = absl::Seconds(5), .min_bytes_per_second = 100, .total_timeout = absl::Seconds(60)};

TEST(BodyPaceTest, ABodyMayStandStillForTheStallTimeout) {
  const BodyPace pace(kLimits, kBegin);
  EXPECT_EQ(pace.Deadline(0, kBegin), kBegin + seconds(5));
  EXPECT_EQ(pace.Deadline(10'000, kBegin + seconds(20)), kBegin + seconds(25));
}

TEST(BodyPaceTest, ADripIsNotEnough) {
  const BodyPace pace(kLimits, kBegin);
  // A byte every four seconds is never silent for five, but owes the rate from the sixth second on.
  EXPECT_LE(pace.Deadline(2, kBegin + seconds(8)), kBegin + seconds(8));
  EXPECT_EQ(pace.Deadline(400, kBegin + seconds(8)), kBegin + seconds(9));
}

TEST(BodyPaceTest, TheWholeBodyHasALimitToo) {
  const BodyPace pace(kLimits, kBegin);
  EXPECT_EQ(pace.Deadline(1 << 30, kBegin + seconds(58)), kBegin + seconds(60));
  EXPECT_EQ(pace.Deadline(std::numeric_limits<int64_t>::max(), kBegin + seconds(58)), kBegin + seconds(60));
}

TEST(BodyPaceTest, ARateOfZeroAsksForNone) {
  BodyPace::Limits limits = kLimits;
  limits.min_bytes_per_second = 0;
  const BodyPace pace(limits, kBegin);
  EXPECT_EQ(pace.Deadline(1, kBegin + seconds(40)), kBegin + seconds(45));
}

}  // namespace
}  // namespace hadal::http
