// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_plan.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/cuda/owned_batch.h"

namespace hadal::kernels::cuda {
namespace {

// Addresses are never followed here.
void* Address(uintptr_t value) { return reinterpret_cast<void*>(value); }

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

}  // namespace
}  // namespace hadal::kernels::cuda
