// SPDX-License-Identifier: Apache-2.0
//
// Products with the rows of a decode step, 16-byte aligned: a device may have a kernel of its own for them.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

Tolerance SumTolerance(DType out, int64_t k) {  // see ops/gemm.h
  const float sum = 0.64f * static_cast<float>(k) + 1.0f;
  if (out == DType::kBF16) return {1e-5f * sum, 8e-3f};
  if (out == DType::kF16) return {1e-5f * sum, 1e-3f};
  return {2e-6f * sum, 1e-5f};
}

// Elements after a row of k, so that the next begins at a multiple of sixteen bytes.
int64_t Padding(int64_t k) { return (8 - k % 8) % 8; }

class FewRowsTest : public OpTest {};
HADAL_INSTANTIATE_OP_TEST(FewRowsTest);

TEST_P(FewRowsTest, EveryRowCountTailAndSplit) {
  struct Shape {
    int64_t n, k;
  };
  for (const Shape& s : {Shape{1, 8}, {2, 7}, {3, 129}, {16, 256}, {17, 520}, {33, 1031}, {5, 2053}, {18, 4100}}) {
    for (int64_t m = 1; m <= 9; ++m) {
      SCOPED_TRACE(absl::StrCat(m, " x ", s.n, " k ", s.k));
      Compare<GemmParams>(
          [&](Arena& a) {
            return GemmParams{.x = a.Random(DType::kBF16, {m, s.k}, 1.0f, Padding(s.k)),
                              .w = WeightView::Plain(a.Random(DType::kBF16, {s.n, s.k}, 1.0f, Padding(s.k))),
                              .bias = {},
                              .out = a.Output(DType::kBF16, {m, s.n}, 1)};
          },
          &Backend::Gemm, SumTolerance(DType::kBF16, s.k));
    }
  }
}

TEST_P(FewRowsTest, TypesBiasAndAccumulation) {
  constexpr int64_t kK = 1033, kN = 35;
  for (DType x : kComputeDTypes) {
    for (DType w : kComputeDTypes) {
      for (DType out : {x, DType::kF32}) {
        for (int variant = 0; variant < 4; ++variant) {
          SCOPED_TRACE(absl::StrCat(DTypeName(x), " x ", DTypeName(w), " to ", DTypeName(out), " variant ", variant));
          Compare<GemmParams>(
              [&](Arena& a) {
                GemmParams p;
                p.x = a.Random(x, {3, kK}, 1.0f, Padding(kK));
                p.w = WeightView::Plain(a.Random(w, {kN, kK}, 1.0f, Padding(kK)));
                if (variant & 1) p.bias = a.Random(DType::kF32, {kN});
                p.accumulate = (variant & 2) != 0;
                p.out = p.accumulate ? a.Random(out, {3, kN}) : a.Output(out, {3, kN});
                if (p.accumulate) a.AlsoWritten(p.out);
                return p;
              },
              &Backend::Gemm, SumTolerance(out, kK));
        }
      }
    }
  }
}

TEST_P(FewRowsTest, NanStaysInItsRow) {
  Compare<GemmParams>(
      [&](Arena& a) {
        std::vector<float> x(3 * 2048, 1.0f);
        x[2048 + 5] = NAN;
        return GemmParams{.x = a.Values(DType::kBF16, {3, 2048}, x),
                          .w = WeightView::Plain(a.Random(DType::kBF16, {7, 2048})),
                          .bias = {},
                          .out = a.Output(DType::kBF16, {3, 7})};
      },
      &Backend::Gemm, SumTolerance(DType::kBF16, 2048));
}

// Each head has its own weight; its rows lie among those of keys, as in kv_b_proj.
TEST_P(FewRowsTest, OneProductAHead) {
  constexpr int64_t kHeads = 5, kV = 24, kRank = 512;
  for (DType dtype : kComputeDTypes) {
    for (int64_t tokens : {1, 3, 8}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " tokens ", tokens));
      Compare<BatchedGemmParams>(
          [&](Arena& a) {
            return BatchedGemmParams{.x = a.Random(dtype, {tokens, kHeads, kRank}),
                                     .w = WeightView::Plain(a.Random(dtype, {kHeads, 2 * kV, kRank})).Rows(kV, kV),
                                     .out = a.Output(dtype, {tokens, kHeads, kV}, 3)};
          },
          &Backend::BatchedGemm, SumTolerance(dtype, kRank));
    }
  }
}

// The absorbed query: rows of keys among those of values, whole tiles of columns, tails, and more rows of w than a
// block takes at once.
TEST_P(FewRowsTest, OneTransposedProductAHead) {
  struct Shape {
    int64_t heads, k, n;
  };
  for (const Shape& s : {Shape{5, 128, 512}, {2, 24, 72}, {3, 1, 8}, {1, 33, 100}, {2, 200, 5}}) {
    for (DType dtype : kComputeDTypes) {
      for (int64_t tokens : {1, 2, 3, 8, 9}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " ", tokens, " x ", s.n, " k ", s.k));
        Compare<BatchedGemmParams>(
            [&](Arena& a) {
              return BatchedGemmParams{
                  .x = a.Random(dtype, {tokens, s.heads, s.k + 3}).Slice(2, 0, s.k),
                  .w = WeightView::Plain(a.Random(dtype, {s.heads, 2 * s.k, s.n}, 1.0f, Padding(s.n))).Rows(s.k, s.k),
                  .out = a.Output(dtype, {tokens, s.heads, s.n}, 3),
                  .transpose_w = true};
            },
            &Backend::BatchedGemm, SumTolerance(dtype, s.k));
      }
    }
  }
}

TEST_P(FewRowsTest, ATransposedWeightOfAnotherType) {
  Compare<BatchedGemmParams>(
      [&](Arena& a) {
        return BatchedGemmParams{.x = a.Random(DType::kBF16, {4, 3, 70}),
                                 .w = WeightView::Plain(a.Random(DType::kF32, {3, 70, 96})),
                                 .out = a.Output(DType::kF32, {4, 3, 96}),
                                 .transpose_w = true};
      },
      &Backend::BatchedGemm, SumTolerance(DType::kF32, 70));
}

// Experts without rows, with one, and with more than a block computes at once; one whose weight is not aligned.
TEST_P(FewRowsTest, RowsOfManyExperts) {
  constexpr int64_t kExperts = 7, kN = 19, kK = 520;
  const std::vector<std::vector<int32_t>> starts = {{0, 0, 1, 1, 2, 3, 3, 3},
                                                    {0, 1, 1, 1, 12, 13, 13, 14},
                                                    {0, 0, 33, 34, 34, 60, 62, 63},
                                                    {2, 2, 3, 5, 5, 5, 6, 6},
                                                    {0, 9, 9, 9, 9, 9, 64, 65}};
  for (DType dtype : kComputeDTypes) {
    for (const std::vector<int32_t>& start : starts) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", start.back()));
      Compare<GroupedGemmParams>(
          [&](Arena& a) {
            const WeightView weights = WeightView::Plain(a.Random(dtype, {kExperts, kN, kK}));
            const WeightView shifted = WeightView::Plain(a.Random(dtype, {kN + 1, kK}));
            std::vector<int64_t> addresses;
            for (int64_t e = 0; e < kExperts; ++e) addresses.push_back(Arena::Address(weights.At(e).values));
            // CUTLASS, which may take more rows than this, asks for aligned weights.
            if (start.back() < 64) addresses[3] = Arena::Address(shifted.values) + DTypeBytes(dtype);
            const TensorView list = a.Longs({kExperts}, addresses);
            return GroupedGemmParams{.x = a.Random(dtype, {start.back() + 1, kK}),  // one row of nobody
                                     .expert_start = a.Ints({kExperts + 1}, start),
                                     .w = {.values = list, .scales = {}, .each = weights.At(0)},
                                     .out = a.Output(dtype, {start.back() + 1, kN}, 1)};
          },
          &Backend::GroupedGemm, SumTolerance(dtype, kK));
    }
  }
}

// Errors of gate and up, as large as a rounding to the other side, pass into their product.
Tolerance OfActivation(DType dtype) {
  if (dtype == DType::kBF16) return {2e-2f, 4 * 0x1p-7f};
  if (dtype == DType::kF16) return {2e-3f, 4 * 0x1p-10f};
  return {1e-4f, 1e-4f};
}

TEST_P(FewRowsTest, ProductAndActivation) {
  struct Shape {
    int64_t inter, k;
  };
  for (const Shape& s : {Shape{1, 8}, {3, 129}, {16, 256}, {37, 1031}, {9, 2053}}) {
    for (DType dtype : kComputeDTypes) {
      for (int64_t m : {0, 1, 3, 8, 9}) {
        for (const bool in_place : {true, false}) {
          SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " ", m, " x ", s.inter, " k ", s.k, in_place ? " in place" : ""));
          Compare<GemmSiluMulParams>(
              [&](Arena& a) {
                GemmSiluMulParams p;
                const float scale = 1.0f / std::sqrt(static_cast<float>(s.k));
                p.product.x = a.Random(dtype, {m, s.k}, 1.0f, Padding(s.k));
                p.product.w = WeightView::Plain(a.Random(dtype, {2 * s.inter, s.k}, scale, Padding(s.k)));
                if (in_place) p.product.bias = a.Random(dtype, {2 * s.inter});
                p.product.out = a.Output(dtype, {m, 2 * s.inter}, 1);
                p.activation.gate = p.product.out.Slice(1, 0, s.inter);
                p.activation.up = p.product.out.Slice(1, s.inter, s.inter);
                p.activation.out = in_place ? p.activation.gate : a.Output(dtype, {m, s.inter}, 2);
                p.activation.limit = in_place ? 0.0f : 0.75f;
                return p;
              },
              &Backend::GemmSiluMul, OfActivation(dtype));
        }
      }
    }
  }
}

TEST_P(FewRowsTest, ProductsAndActivationsOfExperts) {
  constexpr int64_t kExperts = 6, kInter = 21, kK = 520;
  for (DType dtype : kComputeDTypes) {
    for (const std::vector<int32_t>& start : std::vector<std::vector<int32_t>>{
             {0, 0, 1, 1, 2, 3, 3}, {0, 1, 12, 12, 13, 13, 14}, {0, 40, 40, 40, 66, 66, 66}}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", start.back()));
      Compare<GroupedGemmSiluMulParams>(
          [&](Arena& a) {
            const WeightView weights = WeightView::Plain(a.Random(dtype, {kExperts, 2 * kInter, kK}, 0.05f));
            std::vector<int64_t> addresses;
            for (int64_t e = 0; e < kExperts; ++e) addresses.push_back(Arena::Address(weights.At(e).values));
            GroupedGemmSiluMulParams p;
            p.product.x = a.Random(dtype, {start.back(), kK});
            p.product.expert_start = a.Ints({kExperts + 1}, start);
            p.product.w = {.values = a.Longs({kExperts}, addresses), .scales = {}, .each = weights.At(0)};
            p.product.out = a.Output(dtype, {start.back(), 2 * kInter});
            p.activation.gate = p.product.out.Slice(1, 0, kInter);
            p.activation.up = p.product.out.Slice(1, kInter, kInter);
            p.activation.out = p.activation.gate;
            return p;
          },
          &Backend::GroupedGemmSiluMul, OfActivation(dtype));
    }
  }
}

TEST_P(FewRowsTest, ActivationsOfAnotherTensorAreRefused) {
  Arena a(backend());
  GemmSiluMulParams p;
  p.product = {.x = a.Random(DType::kF32, {2, 8}),
               .w = WeightView::Plain(a.Random(DType::kF32, {6, 8})),
               .bias = {},
               .out = a.Output(DType::kF32, {2, 6})};
  p.activation.gate = p.product.out.Slice(1, 0, 3);
  p.activation.up = p.product.out.Slice(1, 0, 3);
  p.activation.out = p.activation.gate;
  EXPECT_EQ(
      backend()->GemmSiluMul(p).message(),
      "gemm_silu_mul: activation.up: expected that half of product.out, f32 [2, 3] strides [6, 1], found f32 [2, 3] "
      "strides [6, 1]");
  p.activation.up = p.product.out.Slice(1, 3, 3);
  EXPECT_EQ(backend()->GemmSiluMul(p), absl::OkStatus());
  p.product.accumulate = true;
  EXPECT_EQ(backend()->GemmSiluMul(p).message(), "gemm_silu_mul: product.accumulate: expected false");
}

}  // namespace
}  // namespace hadal::kernels
