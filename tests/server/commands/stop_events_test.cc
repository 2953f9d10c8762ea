// SPDX-License-Identifier: Apache-2.0
#include "server/commands/stop_events.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <thread>

namespace hadal::commands {
namespace {

TEST(StopEventsTest, CountsSignalsInsteadOfEnding) {
  const std::unique_ptr<StopEvents> events = StopEvents::Create().value();
  EXPECT_EQ(events->signals(), 0);
  ::kill(::getpid(), SIGTERM);
  events->Wait();
  EXPECT_EQ(events->signals(), 1);
  ::kill(::getpid(), SIGINT);
  events->Wait();
  EXPECT_EQ(events->signals(), 2);
  EXPECT_EQ(events->signals(), 2) << "asking again counts nothing twice";
}

TEST(StopEventsTest, ASignalBeforeTheWaitIsNotLost) {
  const std::unique_ptr<StopEvents> events = StopEvents::Create().value();
  ::kill(::getpid(), SIGTERM);
  std::thread late([&] { events->Wait(); });
  late.join();
  EXPECT_EQ(events->signals(), 1);
}

TEST(StopEventsTest, AWatchedDescriptorEndsTheWait) {
  const std::unique_ptr<StopEvents> events = StopEvents::Create().value();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  int quiet[2];
  ASSERT_EQ(::pipe(quiet), 0);
  events->WatchDescriptors({quiet[0], ends[0]});
  std::thread writer([&] { EXPECT_EQ(::write(ends[1], "x", 1), 1); });
  events->Wait();
  writer.join();
  events->WatchDescriptors({});
  events->Wait(absl::Milliseconds(1));  // ends by time, although the pipe is still readable
  for (const int fd : {ends[0], ends[1], quiet[0], quiet[1]}) ::close(fd);
}

TEST(StopEventsTest, AHangupWakesAndIsNoReasonToEnd) {
  const std::unique_ptr<StopEvents> events = StopEvents::Create().value();
  EXPECT_FALSE(events->TakeHangup());
  ::kill(::getpid(), SIGHUP);
  events->Wait();
  EXPECT_EQ(events->signals(), 0);
  EXPECT_TRUE(events->TakeHangup());
  EXPECT_FALSE(events->TakeHangup());
}

TEST(StopEventsTest, AWaitMayEndByItself) {
  const std::unique_ptr<StopEvents> events = StopEvents::Create().value();
  events->Wait(absl::Milliseconds(1));
  EXPECT_EQ(events->signals(), 0);
}

TEST(StopEventsTest, NotifyEndsOneWait) {
  const std::unique_ptr<StopEvents> events = StopEvents::Create().value();
  events->Notify();
  events->Notify();  // both before the wait: one wake-up
  events->Wait();
  std::thread later([&] { events->Notify(); });
  events->Wait();
  later.join();
  EXPECT_EQ(events->signals(), 0);
}

}  // namespace
}  // namespace hadal::commands
