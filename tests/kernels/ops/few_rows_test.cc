// SPDX-License-Identifier: Apache-2.0
//
// Products with the rows of a decode step, 16-byte aligned: a device may have a kernel of its own for them.
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

// Experts without rows, with one, and with more than a block computes at once; one whose weight is not aligned.
TEST_P(FewRowsTest, RowsOfManyExperts) {
  constexpr int64_t kExperts = 7, kN = 19, kK = 520;
  const std::vector<std::vector<int32_t>> starts = {{0, 0, 1, 1, 2, 3, 3, 3},
                                                    {0, 1, 1, 1, 12, 13, 13, 14},
                                                    {0, 0, 33, 34, 34, 60, 63, 64},
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
            if (start.back() <= 64) addresses[3] = Arena::Address(shifted.values) + DTypeBytes(dtype);
            const TensorView list = a.Longs({kExperts}, addresses);
            return GroupedGemmParams{.x = a.Random(dtype, {start.back(), kK}),
                                     .expert_start = a.Ints({kExperts + 1}, start),
                                     .w = {.values = list, .scales = {}, .each = weights.At(0)},
                                     .out = a.Output(dtype, {start.back(), kN}, 1)};
          },
          &Backend::GroupedGemm, SumTolerance(dtype, kK));
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
