// SPDX-License-Identifier: Apache-2.0
#include "server/admission/priority_queue.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;

absl::Time At(double seconds) { return absl::FromUnixSeconds(1000) + absl::Seconds(seconds); }

void Push(PriorityQueue<std::string>& queue, Priority priority, double seconds, const char* item) {
  queue.Push(priority, "tenant", At(seconds), 1, item);
}
std::vector<std::string> PopAll(PriorityQueue<std::string>& queue, double now = 0) {
  std::vector<std::string> out;
  while (!queue.empty()) out.push_back(queue.PopHead(queue.Next(At(now))->priority));
  return out;
}

TEST(PriorityQueueTest, ServesClassesInOrderAndFifoInside) {
  PriorityQueue<std::string> queue;
  Push(queue, Priority::kBatch, 0, "b1");
  Push(queue, Priority::kNormal, 1, "n1");
  Push(queue, Priority::kHigh, 2, "h1");
  Push(queue, Priority::kNormal, 3, "n2");
  Push(queue, Priority::kLow, 4, "l1");
  Push(queue, Priority::kHigh, 5, "h2");
  EXPECT_EQ(queue.size(), 6u);
  EXPECT_EQ(queue.Next(At(5))->priority, Priority::kHigh);
  EXPECT_FALSE(queue.Next(At(5))->aged());
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"h1", "h2", "n1", "n2", "l1", "b1"}));
}

TEST(PriorityQueueTest, ExtractKeepsTheOrderOfTheRest) {
  PriorityQueue<std::string> queue;
  for (const char* name : {"a", "x1", "b", "x2", "c"}) Push(queue, Priority::kNormal, 0, name);
  std::vector<std::string> out;
  queue.Extract([](const std::string& item) { return item[0] == 'x'; }, out);
  EXPECT_EQ(out, (std::vector<std::string>{"x1", "x2"}));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_FALSE(queue.Next(At(0)).has_value());
}

TEST(PriorityQueueTest, AFiniteStepBoundsTheWaitOfALessUrgentClass) {
  PriorityQueue<std::string> queue(QueueOrder{absl::Seconds(8)});
  Push(queue, Priority::kLow, 0, "low");           // key 16
  Push(queue, Priority::kHigh, 15, "early high");  // key 15
  Push(queue, Priority::kHigh, 17, "late high");   // key 17
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"early high", "low", "late high"}));
}

TEST(PriorityQueueTest, WithoutAStepAgeCountsForNothing) {
  PriorityQueue<std::string> queue(QueueOrder{absl::InfiniteDuration()});
  Push(queue, Priority::kBatch, 0, "batch");
  Push(queue, Priority::kHigh, 1e6, "high");
  EXPECT_EQ(PopAll(queue, 1e6), (std::vector<std::string>{"high", "batch"}));
}

TEST(PriorityQueueTest, TiesGoToTheMoreUrgentClass) {
  PriorityQueue<std::string> queue(QueueOrder{absl::Seconds(8)});
  Push(queue, Priority::kNormal, 0, "normal");
  Push(queue, Priority::kHigh, 8, "high");
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"high", "normal"}));
}

TEST(PriorityQueueTest, SaysWhoWentByAgeAndWhoIsOverdue) {
  PriorityQueue<std::string> queue(QueueOrder{absl::Seconds(8)});
  Push(queue, Priority::kLow, 0, "low");
  EXPECT_FALSE(queue.Next(At(100))->aged()) << "nobody more urgent waits";
  Push(queue, Priority::kHigh, 20, "high");
  EXPECT_EQ(queue.Next(At(20))->priority, Priority::kLow);
  EXPECT_TRUE(queue.Next(At(20))->aged());
  EXPECT_FALSE(queue.Next(At(24))->overdue);
  EXPECT_TRUE(queue.Next(At(24.1))->overdue) << "two steps for its class, and one more";
  EXPECT_EQ(queue.Next(At(30), /*by_age=*/false)->priority, Priority::kHigh);
}

// The written bound: a request is overtaken by those only that are k ranks more urgent and arrive within k steps of it.
TEST(PriorityQueueTest, NobodyIsOvertakenBeyondTheBound) {
  constexpr double kStep = 8;
  PriorityQueue<std::pair<int, double>> queue(QueueOrder{absl::Seconds(kStep)});
  std::mt19937 random(5);
  std::map<int, double> oldest_waiting[request::kNumPriorities];
  int next = 0;
  for (int i = 0; i < 20000; ++i) {
    const double now = i * 0.05;
    for (int k = 0; k < 2; ++k) {  // twice of what is served
      const int rank = static_cast<int>(random() % request::kNumPriorities);
      queue.Push(static_cast<Priority>(rank), "t", At(now), 1, {next, now});
      oldest_waiting[rank][next++] = now;
    }
    const Priority turn = queue.Next(At(now))->priority;
    const auto [id, arrived] = queue.PopHead(turn);
    const int rank = static_cast<int>(turn);
    oldest_waiting[rank].erase(id);
    for (int below = rank + 1; below < request::kNumPriorities; ++below) {
      if (oldest_waiting[below].empty()) continue;
      ASSERT_LE(arrived - oldest_waiting[below].begin()->second, (below - rank) * kStep + 1e-6) << "at " << now;
    }
  }
}

TEST(PriorityQueueTest, TenantsShareAClassWhoseTurnItIs) {
  PriorityQueue<std::string> queue;
  for (int i = 0; i < 4; ++i) queue.Push(Priority::kNormal, "noisy", At(0), 10, "n");
  queue.Push(Priority::kNormal, "quiet", At(1), 10, "q");
  queue.Push(Priority::kHigh, "noisy", At(2), 10, "h");
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"h", "n", "q", "n", "n", "n"}));
}

}  // namespace
}  // namespace hadal::admission
