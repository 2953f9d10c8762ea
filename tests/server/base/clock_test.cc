// SPDX-License-Identifier: Apache-2.0
#include "server/base/clock.h"

#include <chrono>

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

absl::Time Steady() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

// Deadlines, forecasts and hints count by it: a jump of the wall clock must neither expire nor keep any request.
TEST(ClockTest, TheRealOneDoesNotFollowTheWallClock) {
  for (int i = 0; i < 100; ++i) {
    const absl::Time before = Steady();
    const absl::Time now = Clock::Real()->Now();
    EXPECT_GE(now, before);
    EXPECT_LE(now, Steady());
  }
}

TEST(ClockTest, WaitsUntilItsOwnTime) {
  Mutex mutex;
  CondVar condition;
  MutexLock lock(&mutex);
  Clock* const clock = Clock::Real();
  EXPECT_FALSE(clock->WaitUntil(&condition, &mutex, clock->Now() - absl::Hours(1))) << "it has passed";
  const absl::Time deadline = clock->Now() + absl::Milliseconds(20);
  while (clock->WaitUntil(&condition, &mutex, deadline)) {
  }
  EXPECT_GE(clock->Now(), deadline);
}

}  // namespace
}  // namespace hadal::base
