// SPDX-License-Identifier: Apache-2.0
#include "kernels/byte_budget.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::kernels {
namespace {

TEST(ByteBudgetTest, TakesUpToTheLimitAndNamesIt) {
  ByteBudget budget(1000);
  EXPECT_EQ(budget.Take(600), absl::OkStatus());
  EXPECT_EQ(budget.used_bytes(), 600);
  const absl::Status full = budget.Take(401);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "allocate: 401 bytes asked for, 400 of 1000 left");
  EXPECT_EQ(budget.used_bytes(), 600) << "a refusal takes nothing";
  EXPECT_EQ(budget.Take(400), absl::OkStatus());
  budget.Return(600);
  EXPECT_EQ(budget.used_bytes(), 400);
}

TEST(ByteBudgetTest, TheLimitMayComeLater) {
  ByteBudget budget;
  EXPECT_FALSE(budget.Take(1).ok());
  budget.SetLimit(10);
  EXPECT_EQ(budget.limit_bytes(), 10);
  EXPECT_EQ(budget.Take(10), absl::OkStatus());
}

TEST(ByteBudgetTest, NoLimitIsNone) {
  ByteBudget budget(ByteBudget::kNoLimit);
  EXPECT_EQ(budget.Take(int64_t{1} << 62), absl::OkStatus());
  EXPECT_EQ(budget.Take((int64_t{1} << 62) - 1), absl::OkStatus());
  EXPECT_EQ(budget.Take(1).code(), absl::StatusCode::kResourceExhausted) << "and does not overflow";
}

TEST(ByteBudgetTest, NegativeCountsAreRefusedByTheCallsName) {
  ByteBudget budget(10);
  EXPECT_EQ(budget.Take(-1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckByteCount("upload", -3).message(), "upload: expected bytes >= 0, found -3");
  EXPECT_EQ(CheckByteCount("upload", 0), absl::OkStatus());
}

TEST(ByteBudgetTest, ThreadsTakeNoMoreThanTheLimitTogether) {
  ByteBudget budget(1000);
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        if (budget.Take(3).ok()) taken.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), 333);
  EXPECT_EQ(budget.used_bytes(), 999);
}

}  // namespace
}  // namespace hadal::kernels
