// SPDX-License-Identifier: Apache-2.0
#include "server/service/worker_pool.h"

#include <atomic>
#include <chrono>
#include <future>
#include <string>

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

TEST(WorkerPoolTest, ShortJobsDoNotWaitForLongOnes) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  WorkerPool pool(4, 100);
  std::atomic<int> long_running{0}, long_done{0};
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pool.TryPost(
        [&] {
          ++long_running;
          released.wait();
          ++long_done;
        },
        WorkerPool::Lane::kLong));
  }
  for (int i = 0; i < 50; ++i) {
    std::promise<void> done;
    ASSERT_TRUE(pool.TryPost([&] { done.set_value(); }));
    ASSERT_EQ(done.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  }
  EXPECT_LE(long_running, 2);
  EXPECT_EQ(long_done, 0);
  release.set_value();
  pool.Stop();
  EXPECT_EQ(long_done, 20);
}

TEST(WorkerPoolTest, OneThreadServesBothLanesInTurn) {
  std::promise<void> release;
  std::promise<void> begun;
  WorkerPool pool(1, 100);
  ASSERT_TRUE(pool.TryPost([&] {
    begun.set_value();
    release.get_future().wait();
  }));
  begun.get_future().wait();
  std::string order;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool.TryPost([&] { order += 'l'; }, WorkerPool::Lane::kLong));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool.TryPost([&] { order += 's'; }));
  release.set_value();
  pool.Stop();
  EXPECT_TRUE(order == "lslsls" || order == "slslsl") << order;
}

TEST(WorkerPoolTest, EachLaneHasItsOwnBound) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::promise<void> begun;
  WorkerPool pool(1, 1);
  ASSERT_TRUE(pool.TryPost([&] {
    begun.set_value();
    released.wait();
  }));
  begun.get_future().wait();
  EXPECT_TRUE(pool.TryPost([] {}, WorkerPool::Lane::kLong));
  EXPECT_FALSE(pool.TryPost([] {}, WorkerPool::Lane::kLong));
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
