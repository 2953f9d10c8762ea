// SPDX-License-Identifier: Apache-2.0
#include "server/service/worker_pool.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace hadal::service {
namespace {

TEST(WorkerPoolTest, RunsEveryJobItTook) {
  std::atomic<int> runs{0};
  {
    WorkerPool pool(3, 1000);
    for (int i = 0; i < 500; ++i) ASSERT_TRUE(pool.TryPost([&] { ++runs; }));
  }
  EXPECT_EQ(runs, 500);
}

TEST(WorkerPoolTest, RefusesWhenFullAndNeverBlocks) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::promise<void> begun;
  WorkerPool pool(1, 2);
  ASSERT_TRUE(pool.TryPost([&] {
    begun.set_value();
    released.wait();
  }));
  begun.get_future().wait();
  EXPECT_TRUE(pool.TryPost([] {}));
  EXPECT_TRUE(pool.TryPost([] {}));
  EXPECT_FALSE(pool.TryPost([] {}));
  release.set_value();
}

TEST(WorkerPoolTest, RefusesAfterStop) {
  WorkerPool pool(1, 2);
  pool.Stop();
  EXPECT_FALSE(pool.TryPost([] {}));
  pool.Stop();
}

}  // namespace
}  // namespace hadal::service
