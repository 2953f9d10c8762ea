// SPDX-License-Identifier: Apache-2.0
#include "server/commands/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::commands {
namespace {

KvShare Share(int64_t bytes) {
  KvShare share;
  share.share_bytes = bytes;
  share.bytes_per_token = 1000;
  share.block_tokens = 64;
  share.max_requests = 4;
  share.max_model_len = 100;
  return share;
}

TEST(MemoryBudgetTest, TheBudgetBoundsTheBlocks) { EXPECT_EQ(*KvBlocks("m", Share(64000 * 3 + 63999)), 3); }

TEST(MemoryBudgetTest, NoMoreBlocksThanRequestsCanUse) {
  EXPECT_EQ(*KvBlocks("m", Share(int64_t{1} << 40)), 2 * 4);  // 100 tokens are two blocks, four requests
}

TEST(MemoryBudgetTest, TooLittleForOneBlockIsRefusedWithTheNumbers) {
  const auto blocks = KvBlocks("tiny", Share(63999));
  ASSERT_FALSE(blocks.ok());
  EXPECT_THAT(std::string(blocks.status().message()), ::testing::HasSubstr("63999"));
  EXPECT_THAT(std::string(blocks.status().message()), ::testing::HasSubstr("64000"));
  EXPECT_FALSE(KvBlocks("negative", Share(-5)).ok());
}

TEST(MemoryBudgetTest, TheMachineHasMemory) {
  ASSERT_TRUE(AvailableHostMemory().ok());
  EXPECT_GT(*AutoMemoryBudget(), 100 << 20);
  EXPECT_LT(*AutoMemoryBudget(), *AvailableHostMemory());
}

}  // namespace
}  // namespace hadal::commands
