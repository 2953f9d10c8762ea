// SPDX-License-Identifier: Apache-2.0
//
// What the CUDA backend decides on the host: staging, products for cuBLASLt, attention for FlashInfer, sample rows.
#include <deque>
#include <random>

#include "gtest/gtest.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/flash_plan.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/sample_rows.h"
#include "kernels/cuda/staging_plan.h"
#include "tests/kernels/cuda/owned_batch.h"

namespace hadal::kernels::cuda {
namespace {

// Addresses are never followed here.
void* Address(uintptr_t value) { return reinterpret_cast<void*>(value); }

TEST(StagingPlanTest, GivesRegionsInARing) {
  StagingPlan plan(100);
  EXPECT_EQ(plan.Take(60), 0);
  EXPECT_EQ(plan.Take(40), 60);
  EXPECT_FALSE(plan.Fits(1));  // full, not empty
  plan.ReleaseOldest();
  EXPECT_FALSE(plan.Fits(61));
  EXPECT_EQ(plan.Take(30), 0);
  EXPECT_TRUE(plan.Fits(30));
  EXPECT_FALSE(plan.Fits(31));
  plan.ReleaseOldest();
  EXPECT_EQ(plan.Take(70), 30);
  EXPECT_FALSE(plan.Fits(1));
}

TEST(StagingPlanTest, AnEmptyRingTakesItsWholeCapacity) {
  StagingPlan plan(100);
  plan.Take(70);
  plan.ReleaseOldest();
  EXPECT_TRUE(plan.empty());
  EXPECT_FALSE(plan.Fits(101));
  EXPECT_EQ(plan.Take(100), 0);
}

TEST(StagingPlanTest, LiveRegionsNeverOverlap) {
  std::mt19937 random(3);
  StagingPlan plan(1000);
  std::deque<std::pair<int64_t, int64_t>> live;
  for (int i = 0; i < 20000; ++i) {
    const int64_t bytes = 1 + static_cast<int64_t>(random() % 400);
    while (!plan.Fits(bytes)) {
      ASSERT_FALSE(live.empty());
      plan.ReleaseOldest();
      live.pop_front();
    }
    const int64_t begin = plan.Take(bytes);
    ASSERT_GE(begin, 0);
    ASSERT_LE(begin + bytes, 1000);
    for (const auto& [other, end] : live) ASSERT_TRUE(begin + bytes <= other || end <= begin) << "step " << i;
    live.push_back({begin, begin + bytes});
  }
}

TEST(GemmPlanTest, TakesEqualTypesWithTheirOwnOrFloatOutput) {
  const auto plan = [](DType x, DType w, DType out) {
    return PlanGemm({.x = TensorView(Address(256), x, {3, 64}),
                     .w = WeightView::Plain(TensorView(Address(256), w, {8, 64})),
                     .bias = {},
                     .out = TensorView(Address(256), out, {3, 8})})
        .has_value();
  };
  EXPECT_TRUE(plan(DType::kBF16, DType::kBF16, DType::kBF16));
  EXPECT_TRUE(plan(DType::kF16, DType::kF16, DType::kF32));
  EXPECT_FALSE(plan(DType::kBF16, DType::kF16, DType::kF32));
  EXPECT_FALSE(plan(DType::kF32, DType::kF32, DType::kBF16));
  EXPECT_FALSE(plan(DType::kBF16, DType::kF32, DType::kF32));
}

TEST(GemmPlanTest, ReadsShapeStridesAndAlignment) {
  TensorView x(Address(4096 + 32), DType::kBF16, {3, 64});
  x.strides[0] = 96;
  const auto plan = PlanGemm({.x = x,
                              .w = WeightView::Plain(TensorView(Address(4096), DType::kBF16, {8, 64})),
                              .bias = TensorView(Address(4096 + 16), DType::kBF16, {8}),
                              .out = TensorView(Address(4096), DType::kBF16, {3, 8}),
                              .accumulate = true});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->shape.m, 3);
  EXPECT_EQ(plan->shape.n, 8);
  EXPECT_EQ(plan->shape.k, 64);
  EXPECT_EQ(plan->shape.x_row, 96);
  EXPECT_EQ(plan->shape.out_row, 8);
  EXPECT_EQ(plan->shape.x_alignment, 32);
  EXPECT_EQ(plan->shape.w_alignment, 256);
  EXPECT_EQ(plan->shape.bias_alignment, 16);
  EXPECT_TRUE(plan->shape.has_bias);
  EXPECT_TRUE(plan->shape.accumulate);
}

TEST(GemmPlanTest, LeavesWhatCublasCannotTake) {
  GemmParams p{.x = TensorView(Address(256), DType::kBF16, {3, 64}),
               .w = WeightView::Plain(TensorView(Address(256), DType::kBF16, {8, 64})),
               .bias = TensorView(Address(256), DType::kF32, {8}),
               .out = TensorView(Address(256), DType::kBF16, {3, 8})};
  EXPECT_FALSE(PlanGemm(p).has_value());  // a bias of another type
  p.bias = TensorView(Address(256), DType::kBF16, {8});
  EXPECT_TRUE(PlanGemm(p).has_value());
  p.bias.data = Address(264);
  EXPECT_FALSE(PlanGemm(p).has_value());  // a bias that vector loads cannot read
  p.bias = {};
  EXPECT_TRUE(PlanGemm(p).has_value());
  p.x.strides[0] = 32;  // rows overlap
  EXPECT_FALSE(PlanGemm(p).has_value());
  p.x = TensorView(Address(256), DType::kBF16, {3, 0});
  p.w = WeightView::Plain(TensorView(Address(256), DType::kBF16, {8, 0}));
  EXPECT_FALSE(PlanGemm(p).has_value());  // k = 0: only the bias is left
}

TEST(GemmPlanTest, ASingleRowsStrideDoesNotMatter) {
  TensorView x(Address(256), DType::kF32, {1, 64});
  x.strides[0] = 1;
  const auto plan = PlanGemm({.x = x,
                              .w = WeightView::Plain(TensorView(Address(256), DType::kF32, {8, 64})),
                              .bias = {},
                              .out = TensorView(Address(256), DType::kF32, {1, 8})});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->shape.x_row, 64);
}

// One algorithm serves every number of rows, wherever in a buffer they begin.
TEST(GemmPlanTest, AnyRowsOfAWeightHaveOneShape) {
  const auto shape = [](int64_t first, int64_t rows, int64_t width) {
    const TensorView x(Address(4096), DType::kBF16, {300, width}), out(Address(1 << 20), DType::kF32, {300, 24});
    return ForAnyRows(PlanGemm({.x = x.Slice(0, first, rows),
                                .w = WeightView::Plain(TensorView(Address(256), DType::kBF16, {24, width})),
                                .bias = {},
                                .out = out.Slice(0, first, rows)})
                          ->shape);
  };
  const GemmShape expected = shape(0, 1, 72);
  EXPECT_EQ(expected.m, kInvariantRows);
  EXPECT_EQ(expected.x_alignment, 16);
  for (int64_t first : {0, 1, 7, 100}) {
    for (int64_t rows : {1, 2, 64, 200}) EXPECT_EQ(shape(first, rows, 72), expected) << first << " " << rows;
  }
  EXPECT_EQ(shape(0, 5, 69).x_alignment, 2);  // the next row is not aligned
  EXPECT_NE(shape(0, 1, 80), expected);
}

TEST(GemmPlanTest, HeadsAreTheBatchOfAbsorbedProjections) {
  const TensorView kv_b(Address(256), DType::kBF16, {4, 48, 512});
  const auto plan = PlanBatchedGemm({.x = TensorView(Address(256), DType::kBF16, {7, 4, 16}),
                                     .w = WeightView::Plain(kv_b).Rows(0, 16),
                                     .out = TensorView(Address(256), DType::kBF16, {7, 4, 512}),
                                     .transpose_w = true});
  ASSERT_TRUE(plan.has_value());
  const GemmShape& s = plan->shape;
  EXPECT_EQ(s.m, 7);
  EXPECT_EQ(s.batch, 4);
  EXPECT_EQ(s.k, 16);
  EXPECT_EQ(s.n, 512);
  EXPECT_EQ(s.x_row, 64);
  EXPECT_EQ(s.x_batch, 16);
  EXPECT_EQ(s.w_row, 512);
  EXPECT_EQ(s.w_batch, 48 * 512);
  EXPECT_EQ(s.out_row, 2048);
  EXPECT_EQ(s.out_batch, 512);
  EXPECT_EQ(s.x_alignment, 32);  // the batch stride of 16 elements moves the address by 32 bytes
}

TEST(GemmPlanTest, AShapeReadsAsText) {
  GemmShape shape;
  shape.in = DType::kBF16;
  shape.m = 7;
  shape.n = 512;
  shape.k = 16;
  EXPECT_EQ(ToString(shape), "bf16 x bf16 -> f32, 7 x 512, k 16");
  shape.batch = 4;
  shape.transposed_w = shape.has_bias = shape.accumulate = true;
  EXPECT_EQ(ToString(shape), "bf16 x bf16 -> f32, 7 x 512, k 16, batch 4, w transposed, bias, accumulating");
  GemmShape other = shape;
  other.m = 1;
  other.x_alignment = 16;
  EXPECT_EQ(OfWeight(other), OfWeight(shape));
  other.k = 32;
  EXPECT_NE(OfWeight(other), OfWeight(shape));
}

TEST(GemmPlanTest, GroupedProductsNeedOneHalfTypeAndAlignedRows) {
  const auto plan = [](DType x, DType w, int64_t k, uintptr_t address) {
    return PlanGroupedGemm({.x = TensorView(Address(address), x, {10, k}),
                            .expert_start = TensorView(Address(256), DType::kI32, {5}),
                            .w = {.values = TensorView(Address(256), DType::kI64, {4}),
                                  .scales = {},
                                  .each = WeightView::Plain(TensorView(Address(256), w, {48, k}))},
                            .out = TensorView(Address(256), x, {10, 48})});
  };
  const auto good = plan(DType::kBF16, DType::kBF16, 64, 4096);
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(good->w_row, 64);
  EXPECT_EQ(good->experts, 4);
  EXPECT_TRUE(plan(DType::kF16, DType::kF16, 64, 4096).has_value());
  EXPECT_FALSE(plan(DType::kF32, DType::kF32, 64, 4096).has_value());
  EXPECT_FALSE(plan(DType::kBF16, DType::kF16, 64, 4096).has_value());
  EXPECT_FALSE(plan(DType::kBF16, DType::kBF16, 60, 4096).has_value());
  EXPECT_FALSE(plan(DType::kBF16, DType::kBF16, 64, 4096 + 8).has_value());
}

TEST(FlashPlanTest, ListsThePagesOfEverySequence) {
  const OwnedBatch b({0, 1, 1, 4}, {64, 0, 65});
  const auto pages = PlanPages(b.batch, 64);
  ASSERT_TRUE(pages.has_value());
  EXPECT_EQ(pages->first_page, (std::vector<int32_t>{0, 1, 1, 3}));
  EXPECT_EQ(pages->last_page_tokens, (std::vector<int32_t>{64, 0, 1}));
  EXPECT_EQ(pages->pages(), 3);
}

TEST(FlashPlanTest, RefusesMorePositionsThan32BitsCount) {
  const OwnedBatch b({0, 1, 2}, {2000000000, 2000000000});
  EXPECT_FALSE(PlanPages(b.batch, 64).has_value());
}

PagedAttentionParams Paged(const OwnedBatch& b, DType dtype, int64_t dim) {
  const int64_t tokens = b.batch.tokens();
  return {.q = TensorView(Address(256), dtype, {tokens, 8, dim}),
          .k_cache = TensorView(Address(512), dtype, {10, 64, 2, dim}),
          .v_cache = TensorView(Address(512), dtype, {10, 64, 2, dim}),
          .out = TensorView(Address(1024), dtype, {tokens, 8, dim}),
          .batch = b.batch,
          .scale = 0.5f};
}

TEST(FlashPlanTest, TakesAlignedHalfTypesOfCommonHeads) {
  const OwnedBatch b({0, 1, 4}, {64, 65});
  const auto launch = PlanFlashPaged(Paged(b, DType::kBF16, 128));
  ASSERT_TRUE(launch.has_value());
  EXPECT_EQ(launch->tokens, 4);
  EXPECT_EQ(launch->heads, 8);
  EXPECT_EQ(launch->kv_heads, 2);
  EXPECT_EQ(launch->k_strides[0], 64 * 2 * 128);
  EXPECT_EQ(launch->v_strides[2], 128);
  EXPECT_TRUE(PlanFlashPaged(Paged(b, DType::kF16, 64)).has_value());
  EXPECT_FALSE(PlanFlashPaged(Paged(b, DType::kF32, 128)).has_value());
  EXPECT_FALSE(PlanFlashPaged(Paged(b, DType::kBF16, 40)).has_value());
}

TEST(FlashPlanTest, LeavesUnalignedAliasedAndPaddedViews) {
  const OwnedBatch b({0, 1, 4}, {64, 65});
  const PagedAttentionParams good = Paged(b, DType::kBF16, 128);
  PagedAttentionParams p = good;
  p.q.data = Address(258);
  EXPECT_FALSE(PlanFlashPaged(p).has_value());
  p = good;
  p.out.data = p.q.data;
  EXPECT_FALSE(PlanFlashPaged(p).has_value());
  p = good;
  p.out.strides[0] += 8;  // FlashInfer writes dense rows
  EXPECT_FALSE(PlanFlashPaged(p).has_value());
  p = good;
  p.q.strides[0] += 8;  // still aligned
  EXPECT_TRUE(PlanFlashPaged(p).has_value());
  p.q.strides[0] += 1;
  EXPECT_FALSE(PlanFlashPaged(p).has_value());
  const OwnedBatch none({0}, {});
  EXPECT_FALSE(PlanFlashPaged(Paged(none, DType::kBF16, 128)).has_value());
}

// Row offsets count in 32 bits: what would wrap goes to the generic kernel.
TEST(FlashPlanTest, LeavesRowsBeyond32Bits) {
  const int32_t tokens = 1 << 15;
  const OwnedBatch b({0, tokens}, {tokens});
  const auto paged = [&](int64_t q_stride) {
    PagedAttentionParams p = Paged(b, DType::kBF16, 128);
    p.q.strides[0] = q_stride;
    return PlanFlashPaged(p).has_value();
  };
  EXPECT_TRUE(paged(8 * 128));
  EXPECT_TRUE(paged((1 << 16) - 64));  // 2^31 less what the heads need
  EXPECT_FALSE(paged(1 << 16));
  const auto mla = [&](int32_t count, int64_t heads) {
    const OwnedBatch prompt({0, count}, {count});
    return PlanFlashMla({.q_lat = TensorView(Address(256), DType::kBF16, {count, heads, 512}),
                         .q_pe = TensorView(Address(256), DType::kBF16, {count, heads, 64}),
                         .cache = TensorView(Address(256), DType::kBF16, {4, 64, 576}),
                         .o_lat = TensorView(Address(256), DType::kBF16, {count, heads, 512}),
                         .batch = prompt.batch},
                        false)
        .has_value();
  };
  EXPECT_TRUE(mla(tokens - 2, 128));
  EXPECT_FALSE(mla(tokens, 128));  // 32768 tokens of 128 heads: 2^31 elements
  EXPECT_TRUE(mla(tokens, 16));
}

TEST(FlashPlanTest, TakesMlaOfTheCommonWidthOnly) {
  const OwnedBatch b({0, 2}, {100});
  const auto params = [&](int64_t latent, int64_t rope) {
    return MlaAttentionParams{.q_lat = TensorView(Address(256), DType::kBF16, {2, 16, latent}),
                              .q_pe = TensorView(Address(256), DType::kBF16, {2, 16, rope}),
                              .cache = TensorView(Address(256), DType::kBF16, {4, 64, latent + rope}),
                              .o_lat = TensorView(Address(256), DType::kBF16, {2, 16, latent}),
                              .batch = b.batch};
  };
  const auto launch = PlanFlashMla(params(512, 64), false);
  ASSERT_TRUE(launch.has_value());
  EXPECT_EQ(launch->rope_key, Address(256 + 512 * 2));
  EXPECT_EQ(launch->cache_token, 576);
  EXPECT_FALSE(PlanFlashMla(params(64, 16), false).has_value());
  MlaAttentionParams listed = params(512, 64);
  listed.selected = TensorView(Address(8192), DType::kI32, {2, 2048});
  EXPECT_FALSE(PlanFlashMla(listed, false).has_value());     // it would read every position
  EXPECT_EQ(FlashMlaWorkBound(b.batch, 128, 132), 4 + 132);  // 256 packed rows in tiles of 64
}

// The causal bound of a tile counts whole tokens: a token whose heads go on in the next tile would lose its last key.
TEST(FlashPlanTest, TakesMlaOnlyWhenTokensFillItsTiles) {
  const auto takes = [](int64_t heads, const OwnedBatch& b, bool batch_invariant) {
    const int64_t tokens = b.batch.tokens();
    return PlanFlashMla({.q_lat = TensorView(Address(256), DType::kBF16, {tokens, heads, 512}),
                         .q_pe = TensorView(Address(256), DType::kBF16, {tokens, heads, 64}),
                         .cache = TensorView(Address(256), DType::kBF16, {4, 64, 576}),
                         .o_lat = TensorView(Address(256), DType::kBF16, {tokens, heads, 512}),
                         .batch = b.batch},
                        batch_invariant)
        .has_value();
  };
  const OwnedBatch prompt({0, 70}, {100}), mostly_idle({0, 1, 1, 1, 1}, {100, 9, 9, 9});
  for (const bool batch_invariant : {false, true}) {
    EXPECT_TRUE(takes(16, prompt, batch_invariant));
    EXPECT_TRUE(takes(128, prompt, batch_invariant));
    EXPECT_FALSE(takes(24, prompt, batch_invariant));
    EXPECT_FALSE(takes(256, prompt, batch_invariant));
  }
  EXPECT_FALSE(takes(128, mostly_idle, false));  // FlashInfer would take tiles of 64 rows
  EXPECT_TRUE(takes(128, mostly_idle, true));
}

TEST(AttentionPlanTest, LatentAttentionReadsKeyAndValueFromOneCache) {
  const OwnedBatch b({0, 2}, {100});
  const AttentionLaunch launch = PlanMlaAttention({.q_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .q_pe = TensorView(Address(256), DType::kF32, {2, 3, 16}),
                                                   .cache = TensorView(Address(4096), DType::kF16, {4, 32, 80}),
                                                   .o_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .batch = b.batch});
  EXPECT_EQ(launch.key_a, launch.value);
  EXPECT_EQ(launch.key_b, Address(4096 + 64 * 2));
  EXPECT_EQ(launch.a_head, 0);
  EXPECT_EQ(launch.a_block, 32 * 80);
  EXPECT_EQ(launch.v_dim, 64);
  EXPECT_EQ(launch.kv_dtype, DType::kF16);
  EXPECT_EQ(launch.selected, nullptr);
}

TEST(AttentionPlanTest, LatentAttentionTakesListsByTheirStride) {
  const OwnedBatch b({0, 2}, {100});
  const TensorView lists(Address(8192), DType::kI32, {2, 40});
  const AttentionLaunch launch = PlanMlaAttention({.q_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .q_pe = TensorView(Address(256), DType::kF32, {2, 3, 16}),
                                                   .cache = TensorView(Address(4096), DType::kF16, {4, 32, 80}),
                                                   .o_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .batch = b.batch,
                                                   .selected = lists.Slice(1, 0, 9)});
  EXPECT_EQ(launch.selected, Address(8192));
  EXPECT_EQ(launch.selected_stride, 40);
  EXPECT_EQ(launch.selected_columns, 9);
}

TEST(AttentionPlanTest, IndexTopKKeepsScoresForTheLongestSequence) {
  const OwnedBatch b({0, 1, 3}, {103, 50});
  const IndexTopKLaunch launch = PlanIndexTopK({.q = TensorView(Address(256), DType::kBF16, {3, 5, 16}),
                                                .weights = TensorView(Address(256), DType::kF32, {3, 5}),
                                                .keys = TensorView(Address(4096), DType::kBF16, {9, 8, 16}),
                                                .selected = TensorView(Address(8192), DType::kI32, {3, 7}),
                                                .batch = b.batch,
                                                .tokens_per_entry = 4});
  EXPECT_EQ(launch.score_columns, 25);  // whole entries of 103 tokens
  EXPECT_EQ(launch.top_k, 7);
  EXPECT_EQ(launch.sequences, 2);
}

TEST(SampleRowsTest, PacksListsAndMarksRepeatedIds) {
  const std::vector<SamplePenalty> once = {{3, 1, false}, {5, 0, true}}, twice = {{3, 1, false}, {3, 2, false}};
  const std::vector<SampleBias> bias = {{3, 1.5f}};
  const std::vector<uint32_t> mask = {1, 2, 3, 4};  // longer than 40 tokens need
  std::vector<SampleRowParams> rows(3);
  rows[0].penalties = once;
  rows[0].biases = bias;  // the same id as a penalty is no repetition
  rows[1].penalties = twice;
  rows[2].allowed_mask = mask;
  SampleRows packed;
  for (int round = 0; round < 2; ++round) {  // nothing is left over from the last call
    packed.Build(rows, 40);
    ASSERT_EQ(packed.rows().size(), 3u);
    EXPECT_EQ(packed.rows()[0].in_order, 0);
    EXPECT_EQ(packed.rows()[0].first_bias, 2);
    EXPECT_EQ(packed.rows()[1].in_order, 1);
    EXPECT_EQ(packed.rows()[1].first_penalty, 3);
    EXPECT_EQ(packed.rows()[1].first_mask_word, -1);
    EXPECT_EQ(packed.rows()[2].first_mask_word, 0);
    EXPECT_EQ(packed.mask_words(), (std::vector<uint32_t>{1, 2}));
    EXPECT_EQ(packed.tokens().size(), 5u);
    EXPECT_EQ(packed.tokens()[1].in_prompt, 1);
    EXPECT_EQ(packed.tokens()[2].bias, 1.5f);
  }
}

}  // namespace
}  // namespace hadal::kernels::cuda
