// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_rate.h"

#include <gtest/gtest.h>

namespace hadal::service {
namespace {

constexpr absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(CallRateTest, IsTheMeanOfTheLastTenSeconds) {
  CallRate rate;
  EXPECT_EQ(rate.PerSecond(kStart), 0);
  for (int second = 0; second < 20; ++second) {
    for (int i = 0; i < 5; ++i) rate.Add(kStart + absl::Seconds(second) + absl::Milliseconds(100 * i));
  }
  // Nine whole seconds and the tenth as far as it has come.
  EXPECT_DOUBLE_EQ(rate.PerSecond(kStart + absl::Seconds(19) + absl::Milliseconds(500)), 50 / 9.5);
}

TEST(CallRateTest, ForgetsWhatIsLongerAgo) {
  CallRate rate;
  for (int i = 0; i < 30; ++i) rate.Add(kStart);
  EXPECT_GT(rate.PerSecond(kStart + absl::Seconds(9)), 3);
  EXPECT_EQ(rate.PerSecond(kStart + absl::Seconds(10)), 0);
  // The slot of a second is taken over by the one ten seconds later.
  rate.Add(kStart + absl::Seconds(10));
  EXPECT_DOUBLE_EQ(rate.PerSecond(kStart + absl::Seconds(11)), 0.1 * 10 / 9);
}

}  // namespace
}  // namespace hadal::service
