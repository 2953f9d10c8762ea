// SPDX-License-Identifier: Apache-2.0
#include "server/admission/surplus_spread.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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
    EXPECT_LE(wait, absl::Seconds(30));
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

// In an overload that lasts, some return soon and some late, at whatever rate they are refused, and as many at any
// time.
TEST(SurplusSpreadTest, InASteadyOverloadEveryMomentIsTold) {
  for (const int per_second : {2, 10, 60}) {
    Fixture f;
    std::array<int, 10> hints = {};  // by whole seconds after the 20th
    std::map<int64_t, int> returns;  // by half seconds
    const int refusals = per_second * 600;
    for (int i = 0; i < refusals; ++i) {
      const absl::Duration at = absl::Seconds(1) * i / per_second;
      const absl::Duration wait = f.Next(kStart + at);
      ++hints[std::min<size_t>(absl::ToInt64Seconds(wait) - 20, 9)];
      if (at + wait >= absl::Seconds(60) && at + wait < absl::Seconds(600)) {
        ++returns[absl::ToInt64Milliseconds(at + wait) / 500];
      }
    }
    for (size_t i = 0; i < hints.size(); ++i) {
      EXPECT_GT(hints[i], refusals / 30) << per_second << " a second, " << 20 + i << " s: a third of an even share";
      EXPECT_LT(hints[i], refusals / 5) << per_second << " a second, " << 20 + i << " s: twice an even share";
    }
    double squares = 0;
    const double mean = per_second / 2.0;
    for (int64_t half_second = 120; half_second < 1200; ++half_second) {
      squares += (returns[half_second] - mean) * (returns[half_second] - mean);
    }
    EXPECT_LT(squares / 1080, 0.5 * mean) << per_second << " a second: more even than at random";
  }
}

TEST(SurplusSpreadTest, WhatIsLongPastDoesNotCount) {
  Fixture f;
  for (int i = 0; i < 1000; ++i) f.Next(kStart);
  // A multiple of the time that is remembered, and five seconds: what was told then would be in the way of the first.
  const absl::Time later = kStart + 100 * absl::Milliseconds(30500) + absl::Seconds(5);
  int near = 0;
  for (int i = 0; i < 20; ++i) near += f.Next(later) < absl::Seconds(25);
  EXPECT_GE(near, 5);
}

// Callers that nobody recognises, refused each time: without the chance, all would return for ever.
TEST(SurplusSpreadTest, AnonymousCallersReturnOnceOnAverage) {
  for (const int per_second : {2, 50}) {
    Fixture f;
    std::multimap<absl::Time, bool> returns;
    int firsts = 0, told_to_return = 0, arrivals = 0;
    const auto arrive = [&](absl::Time now) {
      ++arrivals;
      if (f.uniform(f.random) < f.spread.ChanceOfReturn(now)) return;
      const absl::Duration wait = f.spread.Next(now, f.uniform(f.random), f.uniform(f.random), /*anonymous=*/true);
      ++told_to_return;
      returns.emplace(now + wait, true);
    };
    for (int i = 0; i < 600 * per_second; ++i) {
      const absl::Time now = kStart + absl::Seconds(1) * i / per_second;
      while (!returns.empty() && returns.begin()->first <= now) {
        const absl::Time at = returns.begin()->first;
        returns.erase(returns.begin());
        arrive(at);
      }
      ++firsts;
      arrive(now);
      if (now < kStart + absl::Seconds(19)) EXPECT_EQ(told_to_return, firsts) << "nobody has been here before";
    }
    EXPECT_NEAR(told_to_return, firsts, 0.2 * firsts) << per_second;
    EXPECT_LE(arrivals, 2.2 * firsts) << per_second;
  }
}

TEST(SurplusSpreadTest, WhoIsKnownDoesNotCountAsAnonymous) {
  Fixture f;
  for (int i = 0; i < 2000; ++i) f.Next(kStart + absl::Milliseconds(i * 20));
  EXPECT_EQ(f.spread.ChanceOfReturn(kStart + absl::Seconds(40)), 0);
}

}  // namespace
}  // namespace hadal::admission
