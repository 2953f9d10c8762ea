// SPDX-License-Identifier: Apache-2.0
//
// Plans whose order of additions follows positions alone: what a row is given must not depend on the batch around it.
#include "kernels/cuda/flash_fixed_plan.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "gtest/gtest.h"
#include "tests/kernels/cuda/owned_batch.h"

namespace hadal::kernels::cuda {
namespace {

std::vector<int32_t> List(const std::vector<int32_t>& words, int64_t at, int64_t count) {
  EXPECT_EQ(at % 16, 0);
  EXPECT_LE(at / 4 + count, static_cast<int64_t>(words.size()));
  return {words.begin() + at / 4, words.begin() + at / 4 + count};
}

TEST(FlashFixedPlanTest, PagedTilesCoverTheQueriesOfEachSequence) {
  const OwnedBatch b = OwnedBatch::OfQueries({1, 0, 40}, {200, 9, 170});
  const FlashFixedPaged fixed = PlanFixedPaged(b.batch, 4);  // 4 and 160 packed rows in tiles of 64
  ASSERT_EQ(fixed.plan.tiles, 4);
  EXPECT_EQ(List(fixed.words, fixed.plan.sequence, 4), (std::vector<int32_t>{0, 2, 2, 2}));
  EXPECT_EQ(List(fixed.words, fixed.plan.query_tile, 4), (std::vector<int32_t>{0, 0, 1, 2}));
  EXPECT_EQ(List(fixed.words, fixed.plan.key_tile, 4), (std::vector<int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(List(fixed.words, fixed.plan.first_row, 4), (std::vector<int32_t>{0, 1, 1, 41}));
  EXPECT_EQ(List(fixed.words, fixed.plan.chunk, 1), (std::vector<int32_t>{std::numeric_limits<int32_t>::max()}));
}

// By sequence and first packed row: where a piece's keys begin and end.
using Pieces = std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>>;

constexpr int64_t kBlockTokens = 16;

Pieces MlaPieces(const OwnedBatch& b, int64_t heads, int64_t multiprocessors) {
  const FlashPages pages = *PlanPages(b.batch, kBlockTokens);
  const FlashFixedMla fixed = PlanFixedMla(b.batch, pages, heads, multiprocessors);
  const FlashMlaPlan& plan = fixed.plan;
  EXPECT_LE(plan.blocks_x * plan.blocks_y, multiprocessors);  // all blocks run at once
  const std::vector<int32_t> first = List(fixed.words, plan.first_work, plan.blocks_y + 1);
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
  const int64_t count = first.back();
  const auto list = [&](int64_t at) { return List(fixed.words, at, count); };
  EXPECT_EQ(list(plan.partial_first), std::vector<int32_t>(count, -1));
  for (int64_t at : {plan.merge_start, plan.merge_end}) {
    EXPECT_EQ(List(fixed.words, at, plan.blocks_x * plan.blocks_y),
              std::vector<int32_t>(plan.blocks_x * plan.blocks_y, 0));
  }
  Pieces pieces;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t begin = list(plan.q_first)[i];
    const auto sequence =
        static_cast<int32_t>(std::find(b.starts.rbegin(), b.starts.rend(), begin) - b.starts.rbegin());
    const auto s = static_cast<int32_t>(b.starts.size()) - 1 - sequence;
    EXPECT_EQ(list(plan.kv_first)[i], pages.first_page[s]);
    EXPECT_EQ(list(plan.q_len)[i], b.starts[s + 1] - b.starts[s]);
    EXPECT_EQ(list(plan.kv_len)[i], b.contexts[s]);
    const bool added =
        pieces.insert({{s, list(plan.q_start)[i]}, {list(plan.kv_start)[i], list(plan.kv_end)[i]}}).second;
    EXPECT_TRUE(added);
  }
  return pieces;
}

TEST(FlashFixedPlanTest, AnMlaTileWalksAllTheKeysOfItsRows) {
  const OwnedBatch b = OwnedBatch::OfQueries({1, 21, 3}, {65, 100, 3});
  for (int64_t heads : {16, 128}) {
    const Pieces pieces = MlaPieces(b, heads, 7);
    for (int32_t s = 0; s < 3; ++s) {
      const int64_t queries = b.starts[s + 1] - b.starts[s];
      for (int64_t row = 0; row < queries * heads; ++row) {
        const auto piece = pieces.find({s, static_cast<int32_t>(row / kFlashMlaTile * kFlashMlaTile)});
        ASSERT_NE(piece, pieces.end()) << s << " " << row;
        EXPECT_EQ(piece->second.first, 0);
        EXPECT_GT(piece->second.second, b.contexts[s] - queries + row / heads);  // its own key too
        EXPECT_LE(piece->second.second, b.contexts[s]);
      }
    }
    EXPECT_EQ(static_cast<int64_t>(pieces.size()),
              heads == 16 ? 1 + 3 + 1 : 1 + 21 + 3);  // nothing is computed twice
  }
}

TEST(FlashFixedPlanTest, AnMlaTileIsTheSameInEveryCompanyAndOnEveryDevice) {
  const OwnedBatch alone = OwnedBatch::OfQueries({40}, {1000});
  const Pieces expected = MlaPieces(alone, 16, 132);
  std::vector<int32_t> queries(1, 40), contexts(1, 1000);
  for (int32_t others : {1, 9, 200}) {
    while (static_cast<int32_t>(queries.size()) <= others) {
      queries.push_back(1 + static_cast<int32_t>(queries.size()) % 5);
      contexts.push_back(queries.back() + 1500);
    }
    for (int64_t multiprocessors : {2, 132}) {
      for (const auto& [key, range] : MlaPieces(OwnedBatch::OfQueries(queries, contexts), 16, multiprocessors)) {
        if (key.first != 0) continue;
        EXPECT_EQ(range, expected.at(key)) << others << " others, row " << key.second;
      }
    }
  }
}

TEST(FlashFixedPlanTest, MlaWorkIsSharedOutByKeys) {
  std::vector<int32_t> queries(64, 1), contexts(64, 100);
  contexts[5] = 6400;
  const OwnedBatch b = OwnedBatch::OfQueries(queries, contexts);
  const FlashFixedMla fixed = PlanFixedMla(b.batch, *PlanPages(b.batch, kBlockTokens), 128, 16);
  const std::vector<int32_t> first = List(fixed.words, fixed.plan.first_work, 9);
  const std::vector<int32_t> end = List(fixed.words, fixed.plan.kv_end, 64);
  for (int i = 0; i < 8; ++i) {
    for (int32_t w = first[i]; w < first[i + 1]; ++w) {
      if (end[w] < 6400) continue;
      EXPECT_EQ(first[i + 1] - first[i], 1) << "the long sequence has a pair of blocks to itself";
    }
  }
  EXPECT_EQ(first.back(), 64);
}

}  // namespace
}  // namespace hadal::kernels::cuda
