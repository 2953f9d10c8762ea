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
  queue.Push("quiet", At(1), 10, "q3");
  queue.Push("quiet", At(1), 10, "q4");
  EXPECT_TRUE(queue.HeadIsOwed());
  EXPECT_EQ(queue.PopHead(), "q1");
  EXPECT_TRUE(queue.HeadIsOwed());
  EXPECT_EQ(queue.PopHead(), "q2");
  EXPECT_FALSE(queue.HeadIsOwed()) << "with this and one more it would be level";
  EXPECT_EQ(queue.PopHead(), "q3");
  // From here on they take turns.
  EXPECT_EQ(queue.PopHead(), "n") << "of equals, who has waited longer";
  EXPECT_EQ(queue.PopHead(), "q4");
}

TEST(TenantQueueTest, NobodyIsOwedWhoAsksForAllHeCanGet) {
  TenantQueue<int> queue;
  for (int i = 0; i < 10; ++i) queue.Push("alone", At(i), 10, i);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(queue.HeadIsOwed()) << "there is nobody to compare it with";
    queue.PopHead();
  }
  for (int i = 0; i < 100; ++i) {
    queue.Push("a", At(i), 10, i);
    queue.Push("b", At(i), 10, i);
  }
  for (int i = 0; i < 199; ++i) {
    EXPECT_FALSE(queue.HeadIsOwed()) << i;
    queue.PopHead();
  }
}

// What passes others is a part of its own share: a tenant that comes back again and again gets no more than half.
TEST(TenantQueueTest, WhoIsOwedTakesNoMoreThanItsShare) {
  TenantQueue<std::string> queue;
  for (int i = 0; i < 3000; ++i) queue.Push("noisy", At(0), 10, "n");
  int owed = 0;
  int came = 0;
  for (int i = 0; i < 1000; ++i) {
    for (int k = 0; k < 1 + i % 2; ++k, ++came) queue.Push("often", At(i), 10, "o");  // three in two rounds
    for (int k = 0; k < 2; ++k) {
      const bool is_owed = queue.HeadIsOwed();
      owed += is_owed;
      EXPECT_TRUE(queue.PopHead() == "o" || !is_owed);
    }
  }
  EXPECT_EQ(came, 1500);
  EXPECT_LE(queue.Served("often"), 10 * 1003);
  EXPECT_LE(owed, 3) << "what it had saved up, and no more";
}

TEST(TenantQueueTest, IdlingSavesUpThreeRequests) {
  TenantQueue<std::string> queue;
  queue.Push("back", At(0), 10, "b");
  queue.PopHead();
  for (int i = 0; i < 200; ++i) queue.Push("busy", At(i), 10, "y");
  for (int i = 0; i < 100; ++i) queue.PopHead();
  for (int i = 0; i < 50; ++i) queue.Push("back", At(300), 10, "b");
  int back = 0;
  for (int i = 0; i < 20; ++i) back += queue.PopHead() == "b";
  EXPECT_EQ(back, 3 + 8) << "half from then on, not all of it";
}

// A burst of small requests and large ones: what the small ones take is small.
TEST(TenantQueueTest, ASmallRequestDoesNotUseUpWhatWasSavedForALargeOne) {
  TenantQueue<std::string> queue;
  for (int i = 0; i < 100; ++i) queue.Push("noisy", At(i), i % 10 == 0 ? 1000 : 100, "n");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(queue.PopHead(), "n");
  for (const char* item : {"small 1", "small 2"}) {
    queue.Push("quiet", At(100), 10, item);
    EXPECT_TRUE(queue.HeadIsOwed());
    EXPECT_EQ(queue.PopHead(), item);
  }
  queue.Push("quiet", At(101), 1000, "large 1");
  EXPECT_TRUE(queue.HeadIsOwed());
  EXPECT_EQ(queue.PopHead(), "large 1");
  queue.Push("quiet", At(102), 1000, "large 2");
  EXPECT_FALSE(queue.HeadIsOwed()) << "three large ones are not behind any more";
  EXPECT_EQ(queue.PopHead(), "large 2");
}

TEST(TenantQueueTest, ALargeRequestOfLongAgoSavesUpNothing) {
  TenantQueue<std::string> queue;
  queue.Push("giant", At(0), 1e6, "g");
  queue.PopHead();
  int pops = 0;
  for (int i = 0; i < 4000; ++i) queue.Push("busy", At(i), 10, "b");
  queue.PopHead();
  for (int i = 0; i < 100; ++i) queue.Push("back", At(4000), 10, "a");
  while (queue.PopHead() == "a") ++pops;
  EXPECT_LE(pops, 5);
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
