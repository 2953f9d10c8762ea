// SPDX-License-Identifier: Apache-2.0
//
// The lists of a step: where they lie, and what they hold.
#include "kernels/cuda/step_area.h"

#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/flash_plan.h"

namespace hadal::kernels::cuda {
namespace {

using ::testing::ElementsAre;

TEST(StepAreaTest, ListsFollowTheArraysInOneUpload) {
  alignas(256) char room[4096];
  StepArea area;
  area.Begin(room, sizeof(room), 300);
  const int32_t first[] = {1, 2, 3}, second[] = {4};
  EXPECT_EQ(area.lists_offset(), 512);
  EXPECT_TRUE(area.lists().empty());
  EXPECT_EQ(area.Put(first, sizeof(first)), room + 512);
  EXPECT_EQ(area.Put(nullptr, 0), room + 768);  // an empty list takes nothing
  EXPECT_EQ(area.Put(second, sizeof(second)), room + 768);
  ASSERT_EQ(area.lists().size(), 512u);
  EXPECT_EQ(std::memcmp(area.lists().data(), first, sizeof(first)), 0);
  EXPECT_EQ(std::memcmp(area.lists().data() + 256, second, sizeof(second)), 0);
  EXPECT_EQ(area.TakeFront(1), room + 1024);  // has its own upload
  EXPECT_EQ(area.lists().size(), 512u);
  EXPECT_EQ(area.TakeBack(257), room + 4096 - 512);
  area.Begin(room, sizeof(room), 0);
  EXPECT_TRUE(area.lists().empty());
  EXPECT_EQ(area.Put(second, sizeof(second)), room);
}

TEST(StepAreaTest, WhatDoesNotFitIsRefused) {
  char room[1024];
  StepArea area;
  EXPECT_EQ(area.TakeFront(1), nullptr);  // before any step
  EXPECT_EQ(area.TakeBack(1), nullptr);
  area.Begin(room, sizeof(room), 100);
  EXPECT_NE(area.TakeBack(256), nullptr);
  const std::vector<char> list(600);
  EXPECT_EQ(area.Put(list.data(), 600), nullptr);
  EXPECT_TRUE(area.lists().empty());
  EXPECT_NE(area.Put(list.data(), 512), nullptr);
  EXPECT_EQ(area.TakeBack(1), nullptr);
  area.Begin(room, sizeof(room), 2000);  // the arrays alone need more: only they are there
  EXPECT_EQ(area.TakeFront(1), nullptr);
}

std::vector<int32_t> At(const std::vector<int32_t>& words, int64_t offset, int64_t count) {
  const auto first = words.begin() + offset / int64_t{sizeof(int32_t)};
  return {first, first + count};
}

TEST(FlashListsTest, ASplitIsLaidOutAsTheKernelReadsIt) {
  FlashPagedSplit split;
  split.split = true;
  split.tile_rows = 16;
  split.chunk_tokens = 128;
  split.sequence = {0, 0, 1};
  split.query_tile = {0, 0, 0};
  split.key_tile = {0, 1, 0};
  split.first_row = {0, 2, 3};
  split.merge_first = {0, 2, 3};
  const FlashPagedLists lists = LayOutPaged(split, /*heads=*/28, /*kv_heads=*/4, /*head_dim=*/128);
  EXPECT_EQ(lists.plan.tiles, 3);
  EXPECT_EQ(lists.plan.tile_rows, 16);
  EXPECT_TRUE(lists.plan.split);
  EXPECT_EQ(At(lists.words, lists.plan.sequence, 3), split.sequence);
  EXPECT_EQ(At(lists.words, lists.plan.query_tile, 3), split.query_tile);
  EXPECT_EQ(At(lists.words, lists.plan.key_tile, 3), split.key_tile);
  EXPECT_EQ(At(lists.words, lists.plan.first_row, 3), split.first_row);
  EXPECT_EQ(At(lists.words, lists.plan.merge_first, 3), split.merge_first);
  EXPECT_THAT(At(lists.words, lists.plan.chunk, 1), ElementsAre(128));
  // Three partial rows are needed; room is for three tiles of 16 packed rows, 7 of which are a token.
  constexpr int64_t kRows = 7;
  EXPECT_EQ(lists.plan.partial_logarithms - lists.plan.partial_sums, 28 * kRows * 128 * 4);
  EXPECT_EQ(lists.float_bytes, lists.plan.partial_logarithms + 28 * kRows * 4);
  split.split = false;
  EXPECT_EQ(LayOutPaged(split, 28, 4, 128).float_bytes, 0);
}

TEST(FlashListsTest, PlansOfAGraphLieAlikeWhateverTheirTiles) {
  FlashPagedSplit one, two;
  one.split = two.split = true;
  one.tile_rows = two.tile_rows = 16;
  one.padded_tiles = two.padded_tiles = 6;
  one.sequence = one.query_tile = one.key_tile = {0};
  two.sequence = {0, 0, 0};
  two.query_tile = {0, 0, 0};
  two.key_tile = {0, 1, 2};
  one.first_row = two.first_row = {0, 1};
  one.merge_first = two.merge_first = {0, 1};
  const FlashPagedLists a = LayOutPaged(one, 28, 4, 128), b = LayOutPaged(two, 28, 4, 128);
  EXPECT_EQ(a.plan.tiles, 6);
  EXPECT_EQ(b.plan.tiles, 6);
  EXPECT_EQ(a.words.size(), b.words.size());
  EXPECT_EQ(a.float_bytes, b.float_bytes);
  EXPECT_EQ(a.plan.key_tile, b.plan.key_tile);
  EXPECT_EQ(a.plan.merge_first, b.plan.merge_first);
  EXPECT_EQ(a.plan.valid_tiles, b.plan.valid_tiles);
  EXPECT_THAT(At(b.words, b.plan.valid_tiles, 2), ElementsAre(0x010101, 0));  // a byte a tile
  EXPECT_THAT(At(b.words, b.plan.row_count, 1), ElementsAre(1));
}

TEST(FlashListsTest, APlanForMlaKeepsItsListsAndLosesTheRoomBetween) {
  std::vector<int32_t> ints;
  FlashMlaPlan plan;
  plan.blocks_x = 2;
  plan.blocks_y = 3;
  const auto add = [&](const std::vector<int32_t>& list) {
    const int64_t at = AppendList(list, ints);
    ints.resize(ints.size() + 1000, -77);
    return at;
  };
  plan.first_work = add({0, 1, 1, 2});
  plan.q_first = add({10, 11});
  plan.kv_first = add({20, 21});
  plan.partial_first = add({-1, 0});
  plan.q_len = add({1, 2});
  plan.kv_len = add({100, 200});
  plan.q_start = add({0, 64});
  plan.kv_start = add({0, 32});
  plan.kv_end = add({100, 64});
  plan.merge_start = add({1, 2, 3, 4, 5, 6});
  plan.merge_end = add({2, 3, 4, 5, 6, 7});
  plan.merge_partial_start = add({3, 4, 5, 6, 7, 8});
  plan.merge_partial_end = add({4, 5, 6, 7, 8, 9});
  plan.merge_stride = add({5, 6, 7, 8, 9, 10});
  plan.partial_sums = 64;
  plan.partial_logarithms = 128;
  EXPECT_EQ(CompactMla(ints, plan, 9).plan.kv_end, CompactMla(ints, plan, 9).plan.kv_start + 48);
  const FlashMlaLists lists = CompactMla(ints, plan, 0);
  EXPECT_LT(lists.words.size(), 100u);
  const FlashMlaPlan& p = lists.plan;
  EXPECT_EQ(p.blocks_x, 2);
  EXPECT_EQ(p.blocks_y, 3);
  EXPECT_EQ(p.partial_sums, 64);
  EXPECT_EQ(p.partial_logarithms, 128);
  EXPECT_THAT(At(lists.words, p.first_work, 4), ElementsAre(0, 1, 1, 2));
  EXPECT_THAT(At(lists.words, p.q_first, 2), ElementsAre(10, 11));
  EXPECT_THAT(At(lists.words, p.kv_first, 2), ElementsAre(20, 21));
  EXPECT_THAT(At(lists.words, p.partial_first, 2), ElementsAre(-1, 0));
  EXPECT_THAT(At(lists.words, p.q_len, 2), ElementsAre(1, 2));
  EXPECT_THAT(At(lists.words, p.kv_len, 2), ElementsAre(100, 200));
  EXPECT_THAT(At(lists.words, p.q_start, 2), ElementsAre(0, 64));
  EXPECT_THAT(At(lists.words, p.kv_start, 2), ElementsAre(0, 32));
  EXPECT_THAT(At(lists.words, p.kv_end, 2), ElementsAre(100, 64));
  EXPECT_THAT(At(lists.words, p.merge_start, 6), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(At(lists.words, p.merge_end, 6), ElementsAre(2, 3, 4, 5, 6, 7));
  EXPECT_THAT(At(lists.words, p.merge_partial_start, 6), ElementsAre(3, 4, 5, 6, 7, 8));
  EXPECT_THAT(At(lists.words, p.merge_partial_end, 6), ElementsAre(4, 5, 6, 7, 8, 9));
  EXPECT_THAT(At(lists.words, p.merge_stride, 6), ElementsAre(5, 6, 7, 8, 9, 10));
}

}  // namespace
}  // namespace hadal::kernels::cuda
