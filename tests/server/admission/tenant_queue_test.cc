// SPDX-License-Identifier: Apache-2.0
#include "server/admission/tenant_queue.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

absl::Time At(double seconds) { return absl::FromUnixSeconds(1000) + absl::Seconds(seconds); }

TEST(TenantQueueTest, OneTenantIsServedInOrder) {
  TenantQueue<int> queue;
  for (int i = 0; i < 5; ++i) queue.Push("a", At(i), 10, i);
  EXPECT_EQ(queue.oldest(), At(0));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(queue.PopHead(), i);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.Served("a"), 50);
}

TEST(TenantQueueTest, AQuietTenantGoesBeforeANoisyOnesBacklog) {
  TenantQueue<std::string> queue;
  for (int i = 0; i < 100; ++i) queue.Push("noisy", At(0), 10, "n");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.PopHead(), "n");
  queue.Push("quiet", At(1), 10, "q1");
  queue.Push("quiet", At(1), 10, "q2");
  // It starts at the noisy one's counter, so they take turns.
  EXPECT_EQ(queue.PopHead(), "n") << "a tie goes by name";
  EXPECT_EQ(queue.PopHead(), "q1");
  EXPECT_EQ(queue.PopHead(), "n");
  EXPECT_EQ(queue.PopHead(), "q2");
}

TEST(TenantQueueTest, IdlingSavesUpNothing) {
  TenantQueue<std::string> queue;
  queue.Push("back", At(0), 10, "b");
  queue.PopHead();
  for (int i = 0; i < 200; ++i) queue.Push("busy", At(i), 10, "y");
  for (int i = 0; i < 100; ++i) queue.PopHead();
  for (int i = 0; i < 50; ++i) queue.Push("back", At(300), 10, "b");
  int back = 0;
  for (int i = 0; i < 20; ++i) back += queue.PopHead() == "b";
  EXPECT_EQ(back, 10) << "half from its return on, not all of it";
}

TEST(TenantQueueTest, WhoComesWhenNobodyWaitsStartsWhereTheLastOneLeft) {
  TenantQueue<std::string> queue;
  for (int i = 0; i < 10; ++i) queue.Push("a", At(i), 10, "a");
  while (!queue.empty()) queue.PopHead();
  queue.Push("b", At(20), 10, "b");
  EXPECT_EQ(queue.Served("b"), 100);
}

TEST(TenantQueueTest, ChargesAreCorrected) {
  TenantQueue<std::string> queue;
  for (int i = 0; i < 4; ++i) {
    queue.Push("a", At(0), 10, "a");
    queue.Push("b", At(0), 10, "b");
  }
  EXPECT_EQ(queue.PopHead(), "a");
  queue.Charge("a", 25);  // its answer was that much longer than predicted
  EXPECT_EQ(queue.Served("a"), 35);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(queue.PopHead(), "b") << i;
  EXPECT_EQ(queue.PopHead(), "a");
}

// Two tenants that wait all the time differ by no more than the largest cost; a third comes and goes.
TEST(TenantQueueTest, BackloggedTenantsDifferByOneRequestAtMost) {
  constexpr double kLargest = 5000;
  TenantQueue<int> queue;
  std::mt19937 random(3);
  std::map<int, double> cost;
  int next = 0;
  const auto push = [&](const char* tenant, double largest) {
    cost[next] = 1 + static_cast<double>(random() % static_cast<uint32_t>(largest));
    queue.Push(tenant, At(next), cost[next], next);
    ++next;
  };
  for (int i = 0; i < 50; ++i) push("long", kLargest);
  for (int i = 0; i < 50; ++i) push("short", 100);
  const double long_start = queue.Served("long"), short_start = queue.Served("short");
  for (int i = 0; i < 20000; ++i) {
    push("long", kLargest);
    for (int k = 0; k < 3; ++k) push("short", 100);
    if (random() % 10 == 0) push("third", 1000);
    for (int k = 0; k < 2; ++k) queue.PopHead();
    const double difference = (queue.Served("long") - long_start) - (queue.Served("short") - short_start);
    ASSERT_LE(std::abs(difference), kLargest) << "after " << i;
  }
}

TEST(TenantQueueTest, TakesOutWhatIsAskedForUncharged) {
  TenantQueue<std::string> queue;
  for (const char* item : {"x1", "a", "x2", "b"}) queue.Push("t", At(0), 10, item);
  queue.Push("u", At(1), 10, "x3");
  std::vector<std::string> out;
  queue.Extract([](const std::string& item) { return item[0] == 'x'; }, out);
  EXPECT_EQ(out, (std::vector<std::string>{"x1", "x2", "x3"}));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.Served("t") + queue.Served("u"), 0);
  EXPECT_EQ(queue.PopHead(), "a");
  EXPECT_EQ(queue.PopHead(), "b");
}

TEST(TenantQueueTest, IdleTenantsAreForgottenTheLongestIdleFirst) {
  TenantQueue<int> queue;
  constexpr int kNames = 5000;
  for (int i = 0; i < kNames; ++i) {
    queue.Push("t" + std::to_string(i), At(i), 1, i);
    queue.PopHead();
  }
  EXPECT_EQ(queue.tenants(), TenantQueue<int>::kMaxIdleTenants);
  EXPECT_GT(queue.Served("t" + std::to_string(kNames - 1)), 0);
  EXPECT_EQ(queue.Served("t0"), 0);
}

}  // namespace
}  // namespace hadal::admission
