// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/thread_pool.h"

#include <time.h>

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::kernels::cpu {
namespace {

TEST(ThreadPoolTest, VisitsEveryIndexOnce) {
  for (int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 2, 7, 100, 1000}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> visits(count);
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end, int worker) {
          EXPECT_LT(begin, end);
          EXPECT_LT(worker, threads);
          for (int64_t i = begin; i < end; ++i) ++visits[i];
        });
        for (const auto& visit : visits) EXPECT_EQ(visit.load(), 1);
      }
    }
  }
}

TEST(ThreadPoolTest, WritesAreVisibleAfterTheLoopManyTimesOver) {
  ThreadPool pool(3);
  std::vector<int64_t> values(64);
  for (int64_t round = 0; round < 5000; ++round) {
    pool.ParallelFor(64, 1, [&](int64_t begin, int64_t, int) { values[begin] = round; });
    for (int64_t value : values) ASSERT_EQ(value, round);
  }
}

TEST(ThreadPoolTest, WorkersWakeAfterSleep) {
  ThreadPool pool(4);
  for (int round = 0; round < 3; ++round) {
    const timespec nap{0, 5000000};  // far longer than a worker looks for work
    nanosleep(&nap, nullptr);
    std::atomic<int64_t> sum{0};
    pool.ParallelFor(100, 1, [&](int64_t begin, int64_t, int) { sum += begin; });
    EXPECT_EQ(sum.load(), 4950);
  }
}

double ProcessSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TEST(ThreadPoolTest, AnIdlePoolUsesNoProcessorTime) {
  ThreadPool pool(8);
  pool.ParallelFor(8, 1, [](int64_t, int64_t, int) {});
  const double before = ProcessSeconds();
  const timespec nap{0, 200000000};
  nanosleep(&nap, nullptr);
  EXPECT_LT(ProcessSeconds() - before, 0.05);  // seven spinning workers would use well above a second's fifth
}

}  // namespace
}  // namespace hadal::kernels::cpu
