// SPDX-License-Identifier: Apache-2.0
//
// hyper_collapse and hyper_expand: worked examples, what Sinkhorn promises, and every backend against the reference.
#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

Tolerance Rounding(DType dtype) {
  if (dtype == DType::kBF16) return {1e-5f, 0x1p-7f};
  if (dtype == DType::kF16) return {1e-5f, 0x1p-10f};
  return {1e-5f, 1e-4f};
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

class HyperConnectionTest : public OpTest {
 protected:
  static HyperCollapseParams BuildCollapse(Arena& a, DType dtype, int64_t tokens, int64_t n, int64_t hidden) {
    const int64_t columns = (2 + n) * n;
    return {.streams = a.Random(dtype, {tokens, n, hidden}, 1.5f),
            .mixes = a.Random(DType::kF32, {tokens, columns}, 3.0f, 5),
            .base = a.Random(DType::kF32, {columns}),
            .scale = a.Random(DType::kF32, {3}),
            .out = a.Output(dtype, {tokens, hidden}, 3),
            .post = a.Output(DType::kF32, {tokens, n}),
            .comb = a.Output(DType::kF32, {tokens, n, n}),
            .norm_eps = 1e-5f,
            .eps = 1e-6f,
            .sinkhorn_iterations = 20};
  }
};
HADAL_INSTANTIATE_OP_TEST(HyperConnectionTest);

TEST_P(HyperConnectionTest, OneStreamByHand) {
  Arena a(backend());
  const HyperCollapseParams p = {.streams = a.Values(DType::kF32, {1, 1, 2}, {3, 4}),
                                 .mixes = a.Values(DType::kF32, {1, 3}, {1, 2, 5}),
                                 .base = a.Values(DType::kF32, {3}, {0.25f, -0.5f, 1}),
                                 .scale = a.Values(DType::kF32, {3}, {2, 3, 4}),
                                 .out = a.Output(DType::kF32, {1, 2}),
                                 .post = a.Output(DType::kF32, {1, 1}),
                                 .comb = a.Output(DType::kF32, {1, 1, 1}),
                                 .norm_eps = 0,
                                 .eps = 0.125f};
  ASSERT_EQ(backend()->HyperCollapse(p), absl::OkStatus());
  const double norm = 1 / std::sqrt(12.5);
  const double pre = Sigmoid(1 * norm * 2 + 0.25) + 0.125;
  EXPECT_NEAR(a.Read(p.out)[0], 3 * pre, 1e-5);
  EXPECT_NEAR(a.Read(p.out)[1], 4 * pre, 1e-5);
  EXPECT_NEAR(a.Read(p.post)[0], 2 * Sigmoid(2 * norm * 3 - 0.5), 1e-5);
  EXPECT_NEAR(a.Read(p.comb)[0], 1.125 / 1.25, 1e-6);
}

TEST_P(HyperConnectionTest, SinkhornMakesRowsAndColumnsSumToOne) {
  Arena a(backend());
  const HyperCollapseParams p = BuildCollapse(a, DType::kF32, 9, 4, 24);
  ASSERT_EQ(backend()->HyperCollapse(p), absl::OkStatus());
  const std::vector<double> comb = a.Read(p.comb);
  double asymmetry = 0;
  for (int64_t t = 0; t < 9; ++t) {
    for (int64_t i = 0; i < 4; ++i) {
      double row = 0, column = 0;
      for (int64_t k = 0; k < 4; ++k) {
        row += comb[t * 16 + i * 4 + k];
        column += comb[t * 16 + k * 4 + i];
        asymmetry += std::fabs(comb[t * 16 + i * 4 + k] - comb[t * 16 + k * 4 + i]);
      }
      EXPECT_NEAR(column, 1, 1e-4);  // the last step was over columns
      EXPECT_NEAR(row, 1, 0.1);
    }
  }
  EXPECT_GT(asymmetry, 1);  // else a transposed matrix would not show
}

TEST_P(HyperConnectionTest, OneRoundIsASoftmaxAndAColumnStep) {
  Arena a(backend());
  HyperCollapseParams p = {.streams = a.Values(DType::kF32, {1, 2, 1}, {1, 1}),
                           .mixes = a.Values(DType::kF32, {1, 8}, {0, 0, 0, 0, 1, 2, 3, 5}),
                           .base = a.Values(DType::kF32, {8}, std::vector<float>(8, 0.0f)),
                           .scale = a.Values(DType::kF32, {3}, {1, 1, 1}),
                           .out = a.Output(DType::kF32, {1, 1}),
                           .post = a.Output(DType::kF32, {1, 2}),
                           .comb = a.Output(DType::kF32, {1, 2, 2}),
                           .norm_eps = 0,
                           .eps = 0};
  ASSERT_EQ(backend()->HyperCollapse(p), absl::OkStatus());
  const double c00 = Sigmoid(-1), c01 = Sigmoid(1), c10 = Sigmoid(-2), c11 = Sigmoid(2);
  const std::vector<double> comb = a.Read(p.comb);
  EXPECT_NEAR(comb[0], c00 / (c00 + c10), 1e-6);
  EXPECT_NEAR(comb[1], c01 / (c01 + c11), 1e-6);
  EXPECT_NEAR(comb[2], c10 / (c00 + c10), 1e-6);
  EXPECT_NEAR(comb[3], c11 / (c01 + c11), 1e-6);
}

TEST_P(HyperConnectionTest, CollapseMatches) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t n : {1, 2, 4, 5, 16}) {
      for (int64_t hidden : {1, 17, 264}) {
        for (int64_t tokens : {0, 1, 7}) {
          SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " streams ", n, " hidden ", hidden, " tokens ", tokens));
          Compare<HyperCollapseParams>([&](Arena& a) { return BuildCollapse(a, dtype, tokens, n, hidden); },
                                       &Backend::HyperCollapse, Rounding(dtype));
        }
      }
    }
  }
}

TEST_P(HyperConnectionTest, TheLastCollapseHasOnlyPre) {
  Compare<HyperCollapseParams>(
      [&](Arena& a) {
        return HyperCollapseParams{.streams = a.Random(DType::kBF16, {5, 4, 33}),
                                   .mixes = a.Random(DType::kF32, {5, 4}, 2.0f),
                                   .base = a.Random(DType::kF32, {4}),
                                   .scale = a.Random(DType::kF32, {1}),
                                   .out = a.Output(DType::kF32, {5, 33}),
                                   .post = {},
                                   .comb = {}};
      },
      &Backend::HyperCollapse, Rounding(DType::kF32));
}

TEST_P(HyperConnectionTest, ExpandSumsOverTheFirstIndexOfComb) {
  Arena a(backend());
  const TensorView streams = a.Values(DType::kF32, {1, 2, 1}, {10, 100});
  ASSERT_EQ(backend()->HyperExpand({.streams = streams,
                                    .x = a.Values(DType::kF32, {1, 1}, {1}),
                                    .post = a.Values(DType::kF32, {1, 2}, {1, 2}),
                                    .comb = a.Values(DType::kF32, {1, 2, 2}, {0.5f, 0.25f, 1, 2})}),
            absl::OkStatus());
  EXPECT_EQ(a.Read(streams), (std::vector<double>{1 + 5 + 100, 2 + 2.5 + 200}));
}

TEST_P(HyperConnectionTest, ExpandMatches) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t n : {1, 3, 4, 16}) {
      for (int64_t hidden : {1, 31, 200}) {
        for (int64_t tokens : {0, 1, 6}) {
          SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " streams ", n, " hidden ", hidden, " tokens ", tokens));
          Compare<HyperExpandParams>(
              [&](Arena& a) {
                HyperExpandParams p{.streams = a.Random(dtype, {tokens, n, hidden}, 1.0f, 2),
                                    .x = a.Random(dtype, {tokens, hidden}, 1.0f, 3),
                                    .post = a.Random(DType::kF32, {tokens, n}),
                                    .comb = a.Random(DType::kF32, {tokens, n, n})};
                a.AlsoWritten(p.streams);
                return p;
              },
              &Backend::HyperExpand, Rounding(dtype));
        }
      }
    }
  }
}

TEST_P(HyperConnectionTest, RefusesWrongShapes) {
  Arena a(backend());
  HyperCollapseParams p = BuildCollapse(a, DType::kF32, 2, 4, 8);
  p.mixes = a.Random(DType::kF32, {2, 20});
  EXPECT_EQ(backend()->HyperCollapse(p).message(), "hyper_collapse: mixes: expected [2, 24], found f32 [2, 20]");
  p = BuildCollapse(a, DType::kF32, 2, 4, 8);
  p.streams = a.Random(DType::kF32, {2, 17, 8});
  EXPECT_EQ(backend()->HyperCollapse(p).message(), "hyper_collapse: streams: expected 1 to 16 streams, found 17");
  p = BuildCollapse(a, DType::kF32, 2, 4, 8);
  p.sinkhorn_iterations = 0;
  EXPECT_EQ(backend()->HyperCollapse(p).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::kernels
