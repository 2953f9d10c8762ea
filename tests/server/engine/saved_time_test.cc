// SPDX-License-Identifier: Apache-2.0
#include "server/engine/saved_time.h"

#include "gtest/gtest.h"

namespace hadal::engine {
namespace {

TEST(SavedTimeTest, WorkThatFitsRunsInEveryStep) {
  SavedTime time;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(time.Take(0.001, 0.001)) << i;
}

TEST(SavedTimeTest, LargerWorkTakesTurnsAndNoMoreThanWasGranted) {
  for (const double work_s : {0.0011, 0.0025, 0.0100}) {
    SavedTime time;
    double taken_s = 0;
    for (int step = 1; step <= 1000; ++step) {
      if (time.Take(0.001, work_s)) taken_s += work_s;
      EXPECT_LE(taken_s, step * 0.001 + 1e-9) << step;
    }
    EXPECT_GE(taken_s, 1 - 1.1 * work_s);
  }
}

TEST(SavedTimeTest, NoBurstFollowsATimeOfSmallWork) {
  SavedTime time;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(time.Take(0.010, 0.001));
  int in_a_row = 0;
  while (time.Take(0.001, 0.010)) ++in_a_row;
  EXPECT_LE(in_a_row, 1);
}

TEST(SavedTimeTest, WorkWithoutAGrantNeverRuns) {
  SavedTime time;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(time.Take(0, 0.001));
}

}  // namespace
}  // namespace hadal::engine
