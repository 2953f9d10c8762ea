// SPDX-License-Identifier: Apache-2.0
#include "server/base/active_count.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "server/base/notification.h"

namespace hadal::base {
namespace {

TEST(ActiveCountTest, AnIdleCountIsNotWaitedFor) {
  ActiveCount count;
  EXPECT_TRUE(count.WaitZero(absl::ZeroDuration()));
}

TEST(ActiveCountTest, TheTimeOutEndsAWait) {
  ActiveCount count;
  const ActiveCount::Scope one(&count);
  EXPECT_FALSE(count.WaitZero(absl::ZeroDuration()));
  EXPECT_FALSE(count.WaitZero(absl::Milliseconds(5)));
  EXPECT_EQ(count.value(), 1);
}

TEST(ActiveCountTest, TheLastOneEndsTheWaitAndTheCountMayGo) {
  for (int round = 0; round < 200; ++round) {
    auto count = std::make_unique<ActiveCount>();
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      count->Add();
      threads.emplace_back([count = count.get()] { count->Done(); });
    }
    EXPECT_TRUE(count->WaitZero(absl::InfiniteDuration()));
    count.reset();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(ActiveCountTest, AWaitEndsAtTheMomentThatWasMoved) {
  ActiveCount count;
  const ActiveCount::Scope one(&count);
  std::atomic<bool> moved{false}, asked{false};
  std::thread thread([&] {
    while (!asked) std::this_thread::yield();
    moved = true;
    count.LookAgain();
  });
  EXPECT_FALSE(count.WaitZero([&] {
    asked = true;
    return moved ? absl::InfinitePast() : absl::InfiniteFuture();
  }));
  thread.join();
}

TEST(NotificationTest, HappensOnce) {
  Notification happened;
  EXPECT_FALSE(happened.WaitFor(absl::Milliseconds(1)));
  EXPECT_TRUE(happened.Notify());
  EXPECT_FALSE(happened.Notify());
  EXPECT_TRUE(happened.WaitFor(absl::ZeroDuration()));
}

TEST(NotificationTest, WhatWasDoneBeforeIsSeenAfterTheWait) {
  Notification happened;
  int value = 0;
  std::thread thread([&] {
    value = 7;
    happened.Notify();
  });
  EXPECT_TRUE(happened.WaitFor(absl::InfiniteDuration()));
  EXPECT_EQ(value, 7);
  thread.join();
}

}  // namespace
}  // namespace hadal::base
