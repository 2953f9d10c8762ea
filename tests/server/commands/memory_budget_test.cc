// SPDX-License-Identifier: Apache-2.0
#include "server/commands/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace hadal::commands {
namespace {

KvShare Share(int64_t bytes) {
  KvShare share;
  share.share_bytes = bytes;
  share.layout.caches = {{.name = "k", .layers = 2, .bytes_per_entry_layer = 500}};
  share.block_tokens = 64;
  share.max_requests = 4;
  share.max_model_len = 100;
  return share;
}

TEST(MemoryBudgetTest, TheBudgetBoundsTheBlocks) { EXPECT_EQ(KvPools("m", Share(64000 * 3 + 63999))->blocks, 3); }

TEST(MemoryBudgetTest, ADeviceGivesWhatItHasLeftAndWhatIsLoaded) {
  const DeviceRoom room = {.left = 1000, .loaded = 300};
  EXPECT_EQ(*DeviceBudget(0, room), 1300);
  EXPECT_EQ(*DeviceBudget(900, room), 900);
  EXPECT_EQ(*DeviceBudget(1300, room), 1300);
  const auto refused = DeviceBudget(1301, room);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(),
            "--memory-budget is 1301 bytes, but the device can give 1300: 1000 are left, 300 are loaded");
}

TEST(MemoryBudgetTest, TheLimitOfMpsBoundsTheBudget) {
  const DeviceRoom room = {.left = 1000, .loaded = 300, .mps_limit = 800};
  EXPECT_EQ(*DeviceBudget(0, room), 800);
  EXPECT_EQ(*DeviceBudget(800, room), 800);
  EXPECT_THAT(std::string(DeviceBudget(801, room).status().message()), ::testing::HasSubstr("the MPS limit is 800"));
  EXPECT_EQ(*DeviceBudget(0, {.left = 100, .loaded = 300, .mps_limit = 800}), 400);
}

TEST(MemoryBudgetTest, AProcessorTakesTheBudgetAsItIs) {
  EXPECT_EQ(*MemoryBudget(int64_t{1} << 50, "cpu", {}), int64_t{1} << 50);
  EXPECT_GT(*MemoryBudget(0, "cpu", {.loaded = 1000}), 1000);
}

TEST(MemoryBudgetTest, TheLowestLimitCounts) {
  const DeviceRoom room = {.left = 1000, .loaded = 300, .mps_limit = 800, .group_limit = 700};
  EXPECT_EQ(*DeviceBudget(0, room), 700);
  EXPECT_THAT(std::string(DeviceBudget(701, room).status().message()),
              ::testing::HasSubstr("300 are loaded, the MPS limit is 800, the cgroup limit is 700"));
}

TEST(MemoryBudgetTest, ReadsTheCgroupsLimitOfTheDevice) {
  const std::filesystem::path folder = ::testing::TempDir() + "dmem_" + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  EXPECT_EQ(DeviceGroupLimit("0000:65:00.0", folder), 0) << "no such controller";
  std::ofstream(folder / "dmem.max") << "drm/0000:17:00.0/vram0 1000\ndrm/0000:65:00.0/stolen max\n"
                                        "drm/0000:65:00.0/vram0 8514437120\n";
  EXPECT_EQ(DeviceGroupLimit("0000:65:00.0", folder), 8514437120);
  EXPECT_EQ(DeviceGroupLimit("0000:ca:00.0", folder), 0);
  EXPECT_EQ(DeviceGroupLimit("", folder), 0) << "a processor";
  std::filesystem::remove_all(folder);
}

TEST(MemoryBudgetTest, NoMoreBlocksThanRequestsCanUse) {
  EXPECT_EQ(KvPools("m", Share(int64_t{1} << 40))->blocks, 2 * 4);  // 100 tokens are two blocks, four requests
}

TEST(MemoryBudgetTest, TooLittleForOneBlockIsRefusedWithTheNumbers) {
  const auto blocks = KvPools("tiny", Share(63999));
  ASSERT_FALSE(blocks.ok());
  EXPECT_THAT(std::string(blocks.status().message()), ::testing::HasSubstr("63999"));
  EXPECT_THAT(std::string(blocks.status().message()), ::testing::HasSubstr("64000"));
  EXPECT_FALSE(KvPools("negative", Share(-5)).ok());
}

TEST(MemoryBudgetTest, WindowsOfTheBatchComeFirst) {
  KvShare share = Share(0);
  share.layout.caches.push_back({.name = "window", .layers = 1, .bytes_per_entry_layer = 100, .windowed = true});
  share.layout.window_tokens = 128;
  share.max_batch_size = 10;
  share.max_batch_tokens = 200;
  constexpr int64_t kNeeded = 10 * 3 + 2 * 4;  // 129 tokens reach into 3 blocks; 200 fill 4, twice
  share.share_bytes = kNeeded * 6400 + 64000 + 63999;
  EXPECT_EQ(KvPools("m", share)->blocks, 1);
  EXPECT_EQ(KvPools("m", share)->window_blocks, kNeeded + 1);  // an eighth of what is spare
  share.share_bytes = kNeeded * 6400 + 63999;
  const absl::Status status = KvPools("m", share).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  for (const char* part : {"--max-batch-size=10", "--max-batch-tokens=200", "243200", "64000"}) {
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(part));
  }
  share.share_bytes = int64_t{1} << 40;
  EXPECT_EQ(KvPools("m", share)->window_blocks, 2 * kNeeded) << "not more than as many again";
}

TEST(MemoryBudgetTest, BlocksHoldWholeEntries) {
  models::KvLayout layout;
  layout.caches = {{.name = "k", .layers = 1, .bytes_per_entry_layer = 8, .tokens_per_entry = 128}};
  EXPECT_EQ(*KvBlockTokens("m", layout, 64), 128);
  EXPECT_EQ(*KvBlockTokens("m", layout, 1000), 1024);
  EXPECT_THAT(std::string(KvBlockTokens("m", layout, 1025).status().message()),
              ::testing::HasSubstr("--kv-block-tokens is 1025"));
  layout.caches[0].tokens_per_entry = 2048;
  EXPECT_THAT(std::string(KvBlockTokens("m", layout, 64).status().message()), ::testing::HasSubstr("multiple of 2048"));
}

TEST(MemoryBudgetTest, TheMachineHasMemory) {
  ASSERT_TRUE(AvailableHostMemory().ok());
  EXPECT_GT(*AutoMemoryBudget("cpu"), 100 << 20);
  EXPECT_LT(*AutoMemoryBudget("cpu"), *AvailableHostMemory());
  EXPECT_FALSE(AutoMemoryBudget("abacus").ok()) << "the device's own memory is asked for, not the host's";
}

}  // namespace
}  // namespace hadal::commands
