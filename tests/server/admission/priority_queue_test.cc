// SPDX-License-Identifier: Apache-2.0
#include "server/admission/priority_queue.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;

absl::Time At(double seconds) { return absl::FromUnixSeconds(1000) + absl::Seconds(seconds); }

std::vector<std::string> PopAll(PriorityQueue<std::string>& queue) {
  std::vector<std::string> out;
  while (!queue.empty()) out.push_back(queue.PopHead());
  return out;
}

TEST(PriorityQueueTest, ServesClassesInOrderAndFifoInside) {
  PriorityQueue<std::string> queue;
  queue.Push(Priority::kBatch, At(0), "b1");
  queue.Push(Priority::kNormal, At(1), "n1");
  queue.Push(Priority::kHigh, At(2), "h1");
  queue.Push(Priority::kNormal, At(3), "n2");
  queue.Push(Priority::kLow, At(4), "l1");
  queue.Push(Priority::kHigh, At(5), "h2");
  EXPECT_EQ(queue.size(), 6u);
  EXPECT_EQ(queue.HeadClass(), Priority::kHigh);
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"h1", "h2", "n1", "n2", "l1", "b1"}));
}

TEST(PriorityQueueTest, ExtractKeepsTheOrderOfTheRest) {
  PriorityQueue<std::string> queue;
  for (const char* name : {"a", "x1", "b", "x2", "c"}) queue.Push(Priority::kNormal, At(0), name);
  std::vector<std::string> out;
  queue.Extract([](const std::string& item) { return item[0] == 'x'; }, out);
  EXPECT_EQ(out, (std::vector<std::string>{"x1", "x2"}));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(queue.HeadClass(), std::nullopt);
}

TEST(PriorityQueueTest, AFiniteStepBoundsTheWaitOfALessUrgentClass) {
  PriorityQueue<std::string> queue(QueueOrder{absl::Seconds(8)});
  queue.Push(Priority::kLow, At(0), "low");           // key 16
  queue.Push(Priority::kHigh, At(15), "early high");  // key 15
  queue.Push(Priority::kHigh, At(17), "late high");   // key 17
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"early high", "low", "late high"}));
}

TEST(PriorityQueueTest, TiesGoToTheMoreUrgentClass) {
  PriorityQueue<std::string> queue(QueueOrder{absl::Seconds(8)});
  queue.Push(Priority::kNormal, At(0), "normal");
  queue.Push(Priority::kHigh, At(8), "high");
  EXPECT_EQ(PopAll(queue), (std::vector<std::string>{"high", "normal"}));
}

}  // namespace
}  // namespace hadal::admission
