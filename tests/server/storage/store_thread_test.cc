// SPDX-License-Identifier: Apache-2.0
#include "server/storage/store_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "server/base/notification.h"
#include "server/storage/database.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace hadal::storage {
namespace {

constexpr std::string_view kSchema[] = {"CREATE TABLE numbers(n INTEGER);"};

std::unique_ptr<Database> OpenIn(const testing::TempFolder& folder) {
  return Database::Open({.path = folder.path("x.db"), .application_id = 1, .migrations = kSchema}).value();
}

TEST(StoreThreadTest, RunsJobsInOrder) {
  const testing::TempFolder folder;
  StoreThread thread(OpenIn(folder), 8);
  std::vector<int> order;
  EXPECT_TRUE(thread.TryPost([&](Database&) { order.push_back(1); }));
  EXPECT_TRUE(thread.TryPost([&](Database&) { order.push_back(2); }));
  EXPECT_TRUE(thread.Run([&](Database&) { order.push_back(3); }));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(StoreThreadTest, AFullQueueRefusesAndWaits) {
  const testing::TempFolder folder;
  StoreThread thread(OpenIn(folder), 1);
  base::Notification begun, go_on;
  ASSERT_TRUE(thread.TryPost([&](Database&) {
    begun.Notify();
    EXPECT_TRUE(go_on.WaitFor(absl::Seconds(60)));
  }));
  ASSERT_TRUE(begun.WaitFor(absl::Seconds(60)));
  EXPECT_TRUE(thread.TryPost([](Database&) {}));
  EXPECT_EQ(thread.queued(), 1u);
  EXPECT_FALSE(thread.TryPost([](Database&) {}));
  std::atomic<bool> given_back{false};
  EXPECT_TRUE(thread.PostOwed([&](Database&) { given_back = true; }));
  std::atomic<bool> ran{false};
  std::thread waits([&] { EXPECT_TRUE(thread.Run([&](Database&) { ran = true; })); });
  EXPECT_FALSE(ran);
  go_on.Notify();
  waits.join();
  EXPECT_TRUE(ran);
  EXPECT_TRUE(given_back);
}

TEST(StoreThreadTest, StopRunsWhatIsQueuedAndRefusesTheRest) {
  const testing::TempFolder folder;
  StoreThread thread(OpenIn(folder), 100);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(thread.TryPost(
        [i](Database& database) { EXPECT_OK(database.Prepare("INSERT INTO numbers VALUES (?)").Bind(i).Run()); }));
  }
  thread.Stop();
  EXPECT_FALSE(thread.TryPost([](Database&) {}));
  EXPECT_FALSE(thread.PostOwed([](Database&) {}));
  EXPECT_FALSE(thread.Run([](Database&) { FAIL(); }));
  const auto database = OpenIn(folder);
  Statement rows = database->Prepare("SELECT count(*) FROM numbers");
  ASSERT_TRUE(rows.Next());
  EXPECT_EQ(rows.Int(0), 50);
}

TEST(StoreThreadTest, ManyThreadsShareIt) {
  const testing::TempFolder folder;
  StoreThread thread(OpenIn(folder), 4);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        EXPECT_TRUE(thread.Run(
            [&](Database& database) { EXPECT_OK(database.Prepare("INSERT INTO numbers VALUES (1)").Run()); }));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  int64_t count = 0;
  thread.Run([&](Database& database) {
    Statement rows = database.Prepare("SELECT count(*) FROM numbers");
    if (rows.Next()) count = rows.Int(0);
  });
  EXPECT_EQ(count, 100);
}

}  // namespace
}  // namespace hadal::storage
