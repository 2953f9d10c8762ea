// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_prefill_plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/cuda/owned_batch.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kMultiprocessors = 132;

void* Address(int64_t address) { return reinterpret_cast<void*>(address); }

// As models/blocks/mla_attention.cc gives them: queries of 192, keys and values of a head side by side.
MlaPrefillParams Params(const OwnedBatch& b, int64_t heads, DType dtype = DType::kBF16, int64_t rope = 64,
                        int64_t value = 128) {
  const int64_t tokens = b.batch.tokens();
  const int64_t kv_tokens = b.contexts.empty() ? 0 : b.contexts[0];
  const TensorView q(Address(4096), dtype, {tokens, heads, 128 + rope});
  const TensorView kv(Address(8192), dtype, {kv_tokens, heads, 128 + value});
  MlaPrefillParams p;
  p.q_nope = q.Slice(2, 0, 128);
  p.q_pe = q.Slice(2, 128, rope);
  p.k_nope = kv.Slice(2, 0, 128);
  p.k_pe = TensorView(Address(16384), dtype, {kv_tokens, 512 + rope}).Slice(1, 512, rope);
  p.v = kv.Slice(2, 128, value);
  p.out = TensorView(Address(32768), dtype, {tokens, heads, value});
  p.batch = b.batch;
  p.scale = 0.5f;
  return p;
}

TEST(FlashPrefillPlanTest, TakesTheWidthsOfDeepSeek) {
  const OwnedBatch b({0, 70}, {100});
  const auto launch = PlanFlashPrefill(Params(b, 128));
  ASSERT_TRUE(launch.has_value());
  EXPECT_EQ(launch->q, Address(4096));
  EXPECT_EQ(launch->v, Address(8192 + 128 * 2));
  EXPECT_EQ(launch->tokens, 70);
  EXPECT_EQ(launch->kv_tokens, 100);
  EXPECT_EQ(launch->q_token, 128 * 192);
  EXPECT_EQ(launch->q_head, 192);
  EXPECT_EQ(launch->v_token, 128 * 256);
  EXPECT_EQ(launch->v_head, 256);
  EXPECT_EQ(launch->out_token, 128 * 128);
  EXPECT_EQ(launch->out_head, 128);
  EXPECT_EQ(launch->scale, 0.5f);
  EXPECT_TRUE(PlanFlashPrefill(Params(b, 16, DType::kF16)).has_value());
  EXPECT_TRUE(PlanFlashPrefill(Params(b, 1)).has_value());
}

TEST(FlashPrefillPlanTest, LeavesOtherWidthsTypesAndLayouts) {
  const OwnedBatch b({0, 70}, {100}), nothing({0}, {});
  EXPECT_FALSE(PlanFlashPrefill(Params(b, 16, DType::kF32)).has_value());
  EXPECT_FALSE(PlanFlashPrefill(Params(b, 16, DType::kBF16, 32)).has_value());
  EXPECT_FALSE(PlanFlashPrefill(Params(b, 16, DType::kBF16, 64, 192)).has_value());
  EXPECT_FALSE(PlanFlashPrefill(Params(nothing, 16)).has_value());
  MlaPrefillParams apart = Params(b, 16);
  apart.q_pe = TensorView(Address(65536), DType::kBF16, {70, 16, 64});
  EXPECT_FALSE(PlanFlashPrefill(apart).has_value());
  MlaPrefillParams unaligned = Params(b, 16);
  unaligned.v.data = Address(8192 + 2);
  EXPECT_FALSE(PlanFlashPrefill(unaligned).has_value());
  MlaPrefillParams odd_rope = Params(b, 16);
  odd_rope.k_pe = TensorView(Address(16384), DType::kBF16, {100, 65}).Slice(1, 0, 64);
  EXPECT_FALSE(PlanFlashPrefill(odd_rope).has_value());
  MlaPrefillParams in_place = Params(b, 16);
  in_place.out.data = in_place.q_nope.data;
  EXPECT_FALSE(PlanFlashPrefill(in_place).has_value());
}

TEST(FlashPrefillPlanTest, HeadsGoTogetherWhileTheirKeysFit) {
  EXPECT_EQ(PrefillHeadsAtOnce(16, 16384), 16);
  EXPECT_EQ(PrefillKeyBytes(16, 16384), int64_t{16} * 16384 * 192 * 2);
  EXPECT_EQ(PrefillHeadsAtOnce(128, 4096), 128);
  EXPECT_EQ(PrefillHeadsAtOnce(128, 16384), 32);  // 42 would fit, and do not divide 128
  EXPECT_EQ(PrefillHeadsAtOnce(7, 1 << 20), 1);
  EXPECT_EQ(PrefillHeadsAtOnce(128, int64_t{1} << 30), 1);
  for (const int64_t kv_tokens : {1, 3000, 16384}) {
    EXPECT_LE(PrefillKeyBytes(PrefillHeadsAtOnce(128, kv_tokens), kv_tokens), kPrefillKeyBytes);
  }
}

TEST(FlashPrefillPlanTest, EveryTileOfEveryHeadHasABlock) {
  const OwnedBatch b = OwnedBatch::OfQueries({300, 0, 1, 128, 129}, {700, 9, 1, 128, 200});
  for (const int64_t heads : {1, 16}) {
    const FlashPrefillLists lists = PlanPrefillWork(b.batch, heads, kMultiprocessors);
    const auto list = [&](int64_t offset) { return lists.words.data() + offset / 4; };
    const FlashPrefillPlan& plan = lists.plan;
    ASSERT_EQ(list(plan.first_work)[0], 0);
    const int64_t pieces = list(plan.first_work)[kMultiprocessors];
    EXPECT_EQ(pieces, heads * (3 + 0 + 1 + 1 + 2));
    const std::vector<int32_t> query_first = {0, 300, 300, 301, 429}, key_first = {0, 700, 709, 710, 838};
    std::map<std::tuple<int32_t, int32_t, int32_t>, int> seen;
    for (int64_t w = 0; w < pieces; ++w) {
      const auto s = static_cast<size_t>(list(plan.sequence)[w]);
      ++seen[{list(plan.head)[w], list(plan.sequence)[w], list(plan.query_tile)[w]}];
      EXPECT_EQ(list(plan.query_first)[w], query_first[s]);
      EXPECT_EQ(list(plan.key_first)[w], key_first[s]);
      EXPECT_EQ(list(plan.query_count)[w], b.starts[s + 1] - b.starts[s]);
      EXPECT_EQ(list(plan.key_count)[w], b.contexts[s]);
      EXPECT_LT(list(plan.query_tile)[w] * kFlashPrefillTile, b.starts[s + 1] - b.starts[s]);
      EXPECT_LT(list(plan.head)[w], heads);
    }
    EXPECT_EQ(static_cast<int64_t>(seen.size()), pieces);  // each once
  }
}

// A long prompt on few heads and a step of many: no block has much more to do than another.
TEST(FlashPrefillPlanTest, BlocksHaveAlikeMuchToDo) {
  for (const auto& [queries, contexts] : std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>{
           {{8192}, {8192}}, {{512, 2048, 700, 4000}, {1024, 2048, 900, 4100}}}) {
    const OwnedBatch b = OwnedBatch::OfQueries(queries, contexts);
    const FlashPrefillLists lists = PlanPrefillWork(b.batch, 16, kMultiprocessors);
    const auto list = [&](int64_t offset) { return lists.words.data() + offset / 4; };
    const FlashPrefillPlan& plan = lists.plan;
    std::vector<int64_t> work(kMultiprocessors);  // keys, and what a tile takes beside them
    for (int64_t block = 0; block < kMultiprocessors; ++block) {
      for (int64_t w = list(plan.first_work)[block]; w < list(plan.first_work)[block + 1]; ++w) {
        const int64_t end = (list(plan.query_tile)[w] + 1) * kFlashPrefillTile;
        work[static_cast<size_t>(block)] += 2 * kFlashPrefillTile + list(plan.key_count)[w] -
                                            list(plan.query_count)[w] +
                                            std::min<int64_t>(end, list(plan.query_count)[w]);
      }
    }
    const auto [least, most] = std::minmax_element(work.begin(), work.end());
    EXPECT_LE(*most - *least, *std::max_element(contexts.begin(), contexts.end()) + 2 * kFlashPrefillTile);
    EXPECT_GT(*least, 0);
  }
}

}  // namespace
}  // namespace hadal::kernels::cuda
