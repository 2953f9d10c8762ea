// SPDX-License-Identifier: Apache-2.0
#include "client/line.h"

#include <gtest/gtest.h>

namespace hadal::client {
namespace {

// What calls make of it stands in retry_cases.json.
const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(LineTest, ThePaceIsThatOfTheLastAnswersAndASecondAtMost) {
  Line line;
  EXPECT_LE(line.NextAt(), kStart) << "nobody waits";
  line.Promised(kStart + absl::Seconds(5));
  EXPECT_EQ(line.Join(kStart), kStart + absl::Seconds(5));
  EXPECT_EQ(line.Join(kStart), kStart + absl::Seconds(6)) << "no pace is known";
  for (int i = 0; i < 100; ++i) line.Answered(kStart + absl::Seconds(i * 10));
  EXPECT_EQ(line.Join(kStart), kStart + absl::Seconds(7));
  EXPECT_EQ(line.Join(kStart), kStart + absl::Seconds(8)) << "ten seconds would be too long";
  for (int i = 0; i < 32; ++i) line.Answered(kStart + absl::Seconds(1000) + absl::Milliseconds(i * 250));
  EXPECT_EQ(line.Join(kStart), kStart + absl::Seconds(9));
  EXPECT_EQ(line.Join(kStart), kStart + absl::Seconds(9.25)) << "the old answers are forgotten";
}

TEST(LineTest, AnEarlierPromiseChangesNothingAndALaterOneDoes) {
  Line line;
  line.Promised(kStart + absl::Seconds(5));
  line.Promised(kStart + absl::Seconds(2));
  EXPECT_EQ(line.NextAt(), kStart + absl::Seconds(5));
  line.Promised(kStart + absl::Seconds(7));
  EXPECT_EQ(line.NextAt(), kStart + absl::Seconds(7));
  EXPECT_EQ(line.Join(kStart + absl::Seconds(60)), kStart + absl::Seconds(60)) << "the line has ended";
}

}  // namespace
}  // namespace hadal::client
