// SPDX-License-Identifier: Apache-2.0
#include "server/admission/surplus_spread.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace hadal::admission {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

struct Fixture {
  absl::Duration Next(absl::Time now) { return spread.Next(now, uniform(random), uniform(random)); }

  SurplusSpread spread;
  std::mt19937_64 random{1};
  std::uniform_real_distribution<double> uniform{0, 1};
};

TEST(SurplusSpreadTest, EverybodyIsBackBetweenTwentyAndThirtySeconds) {
  Fixture f;
  for (int i = 0; i < 5000; ++i) {
    const absl::Duration wait = f.Next(kStart + absl::Milliseconds(i * 37));
    EXPECT_GE(wait, absl::Seconds(20));
    EXPECT_LT(wait, absl::Seconds(30));
  }
}

// The most that come within half a second when 20 a second are refused for 12 seconds.
TEST(SurplusSpreadTest, AStormDoesNotComeBackAsAStorm) {
  Fixture f;
  std::map<int64_t, int> spread, at_random;
  for (int i = 0; i < 240; ++i) {
    const absl::Time now = kStart + absl::Milliseconds(i * 50);
    const auto half_seconds = [&](absl::Duration wait) { return absl::ToUnixMillis(now + wait) / 500; };
    ++spread[half_seconds(f.Next(now))];
    ++at_random[half_seconds(absl::Seconds(20) + f.uniform(f.random) * absl::Seconds(10))];
  }
  const auto most = [](const std::map<int64_t, int>& counts) {
    return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->second;
  };
  EXPECT_GE(most(at_random), 13);
  EXPECT_LE(most(spread), 11);
}

TEST(SurplusSpreadTest, WhatIsLongPastDoesNotCount) {
  Fixture f;
  for (int i = 0; i < 1000; ++i) f.Next(kStart);
  std::map<int64_t, int> later;
  for (int i = 0; i < 20; ++i) ++later[absl::ToInt64Milliseconds(f.Next(kStart + absl::Hours(1))) / 500];
  EXPECT_EQ(later.size(), 20u) << "each has a half second of its own";
}

}  // namespace
}  // namespace hadal::admission
