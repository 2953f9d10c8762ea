// SPDX-License-Identifier: Apache-2.0
//
// compress_pool: worked examples, and every backend against the reference.
#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

Tolerance Rounding(DType dtype) {
  if (dtype == DType::kBF16) return {0x1p-7f, 0x1p-7f};
  if (dtype == DType::kF16) return {0x1p-10f, 0x1p-10f};
  return {2e-5f, 1e-5f};
}

class CompressPoolTest : public OpTest {};
HADAL_INSTANTIATE_OP_TEST(CompressPoolTest);

// Blocks of 3 tokens, so that a group of 2 lies across two of them. One channel; u is 10 * (position + 1).
TEST_P(CompressPoolTest, AGroupIsASoftmaxOverItsTokens) {
  Arena a(backend());
  // Block 1 holds positions 0..2, block 0 positions 3..5. Rows are (u, g).
  CompressPoolParams p = {.rows = a.Values(DType::kF32, {2, 3, 2, 1}, {40, 0, 50, 0, 60, 0, 10, 5, 20, 5, 30, 2}),
                          .step_rows = a.Values(DType::kF32, {0, 2, 1}, {}),
                          .position_bias = a.Values(DType::kF32, {2, 1}, {0, 1}),
                          .sequences = a.Ints({2}, {0, 0}),
                          .entries = a.Ints({2}, {1, 0}),
                          .out = a.Output(DType::kF32, {2, 1}),
                          .batch = a.Ragged({0}, {6}, 3, 2),
                          .block_tokens = 3};
  p.batch.block_tables = a.Ints({1, 2}, {1, 0});
  ASSERT_EQ(backend()->CompressPool(p), absl::OkStatus());
  const double e = std::exp(1.0);
  const std::vector<double> out = a.Read(p.out);
  EXPECT_NEAR(out[0], (30 * std::exp(2.0) + 40 * e) / (std::exp(2.0) + e), 1e-4);  // gates 2 + 0 and 0 + 1
  EXPECT_NEAR(out[1], (10 + 20 * e) / (1 + e), 1e-4);
}

// Position 1 is of an older step, 2 and 3 are new. The block keeps two rows in a cycle, so position 1 is in row 1; the
// cache has nothing of use at the new positions' places.
TEST_P(CompressPoolTest, NewTokensAreReadFromTheStepAndOldOnesFromTheirPlaceInTheCycle) {
  Arena a(backend());
  const CompressPoolParams p = {.rows = a.Values(DType::kF32, {1, 2, 2, 1}, {NAN, NAN, 7, 0}),
                                .step_rows = a.Values(DType::kF32, {2, 2, 1}, {11, 0, 13, 0}),
                                .position_bias = a.Values(DType::kF32, {1, 1}, {0}),
                                .sequences = a.Ints({3}, {0, 0, 0}),
                                .entries = a.Ints({3}, {1, 2, 3}),
                                .out = a.Output(DType::kF32, {3, 1}),
                                .batch = a.Ragged({2}, {4}, 4, 1),
                                .block_tokens = 4};
  ASSERT_EQ(backend()->CompressPool(p), absl::OkStatus());
  EXPECT_EQ(a.Read(p.out), (std::vector<double>{7, 11, 13}));
}

// With overlap: the second series of the own group, the first series of the group before.
TEST_P(CompressPoolTest, OverlapTakesTheFirstSeriesOfTheGroupBefore) {
  Arena a(backend());
  // One token a group. Rows: u = (first, second), g likewise.
  const CompressPoolParams p = {.rows = a.Values(DType::kF32, {1, 2, 2, 2}, {1, 10, 3, 0, 2, 20, 0, 1}),
                                .step_rows = a.Values(DType::kF32, {0, 2, 2}, {}),
                                .position_bias = a.Values(DType::kF32, {1, 2}, {0.5f, -0.25f}),
                                .sequences = a.Ints({2}, {0, 0}),
                                .entries = a.Ints({2}, {0, 1}),
                                .out = a.Output(DType::kF32, {2, 1}),
                                .batch = a.Ragged({0}, {2}, 2, 1),
                                .block_tokens = 2,
                                .overlap = true};
  ASSERT_EQ(backend()->CompressPool(p), absl::OkStatus());
  const double before = std::exp(3.5), own = std::exp(0.75);
  EXPECT_NEAR(a.Read(p.out)[0], 10, 1e-5);  // nothing before the first group
  EXPECT_NEAR(a.Read(p.out)[1], (1 * before + 20 * own) / (before + own), 1e-4);
}

TEST_P(CompressPoolTest, Matches) {
  struct Shape {
    int64_t ratio, dim, block_tokens, rows;
  };
  for (const Shape& s :
       {Shape{4, 24, 8, 8}, {4, 130, 16, 8}, {8, 17, 8, 8}, {128, 48, 128, 128}, {1, 5, 4, 2}, {3, 512, 7, 7}}) {
    for (bool overlap : {false, true}) {
      for (DType dtype : kComputeDTypes) {
        for (int64_t entries : {0, 1, 6}) {
          SCOPED_TRACE(absl::StrCat("ratio ", s.ratio, " dim ", s.dim, " overlap ", overlap, " entries ", entries));
          const int64_t width = s.dim * (overlap ? 2 : 1);
          const int32_t context = static_cast<int32_t>(4 * s.ratio), fresh = static_cast<int32_t>(s.ratio + 1);
          const int64_t blocks = 2 * ((context + s.block_tokens - 1) / s.block_tokens) + 1;
          Compare<CompressPoolParams>(
              [&](Arena& a) {
                const std::vector<int32_t> sequences = {0, 1, 1, 0, 0, 1}, numbers = {0, 3, 0, 1, 3, 2};
                return CompressPoolParams{
                    .rows = a.Random(DType::kF32, {blocks, s.rows, 2, width}, 1.5f, 1),
                    .step_rows = a.Random(DType::kF32, {fresh + context, 2, width}, 1.5f, 2),
                    .position_bias = a.Random(DType::kF32, {s.ratio, width}),
                    .sequences = a.Ints({entries}, {sequences.begin(), sequences.begin() + entries}),
                    .entries = a.Ints({entries}, {numbers.begin(), numbers.begin() + entries}),
                    .out = a.Output(dtype, {entries, s.dim}, 2),
                    .batch = a.Ragged({fresh, context}, {context, context}, s.block_tokens, blocks),
                    .block_tokens = s.block_tokens,
                    .overlap = overlap};
              },
              &Backend::CompressPool, Rounding(dtype));
        }
      }
    }
  }
}

TEST_P(CompressPoolTest, LargeGatesDoNotOverflow) {
  Arena a(backend());
  const CompressPoolParams p = {.rows = a.Values(DType::kF32, {1, 2, 2, 1}, {1, 1e30f, 2, -1e30f}),
                                .step_rows = a.Values(DType::kF32, {0, 2, 1}, {}),
                                .position_bias = a.Values(DType::kF32, {2, 1}, {0, 0}),
                                .sequences = a.Ints({1}, {0}),
                                .entries = a.Ints({1}, {0}),
                                .out = a.Output(DType::kF32, {1, 1}),
                                .batch = a.Ragged({0}, {2}, 2, 1),
                                .block_tokens = 2};
  ASSERT_EQ(backend()->CompressPool(p), absl::OkStatus());
  EXPECT_EQ(a.Read(p.out)[0], 1);
}

TEST_P(CompressPoolTest, RefusesWrongShapes) {
  Arena a(backend());
  const CompressPoolParams p = {.rows = a.Random(DType::kF32, {1, 4, 2, 6}),
                                .step_rows = a.Random(DType::kF32, {4, 2, 12}),
                                .position_bias = a.Random(DType::kF32, {4, 12}),
                                .sequences = a.Ints({1}, {0}),
                                .entries = a.Ints({1}, {0}),
                                .out = a.Output(DType::kF32, {1, 6}),
                                .batch = a.Ragged({4}, {4}, 4, 1),
                                .block_tokens = 4,
                                .overlap = true};
  EXPECT_EQ(backend()->CompressPool(p).message(),
            "compress_pool: rows: expected [any, any, 2, 12], found f32 [1, 4, 2, 6]");
}

}  // namespace
}  // namespace hadal::kernels
