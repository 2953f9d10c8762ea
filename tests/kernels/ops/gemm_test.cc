// SPDX-License-Identifier: Apache-2.0
//
// gemm, batched_gemm and grouped_gemm on every backend against the reference, and the reference against exact integers.
#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

struct Shape {
  int64_t m, n, k;
};

// For operands of deviation 1, |x||w| sums to about 0.64 k (see ops/gemm.h).
Tolerance SumTolerance(DType out, int64_t k) {
  const float sum = 0.64f * static_cast<float>(k) + 1.0f;
  if (out == DType::kBF16) return {1e-5f * sum, 8e-3f};
  if (out == DType::kF16) return {1e-5f * sum, 1e-3f};
  return {2e-6f * sum, 1e-5f};
}

GemmParams Build(Arena& a, const Shape& s, DType x, DType w, DType out) {
  return {.x = a.Random(x, {s.m, s.k}, 1.0f, 3),
          .w = WeightView::Plain(a.Random(w, {s.n, s.k}, 1.0f, 5)),
          .bias = {},
          .out = a.Output(out, {s.m, s.n}, 2)};
}

class GemmTest : public OpTest {};
HADAL_INSTANTIATE_OP_TEST(GemmTest);

TEST_P(GemmTest, MatchesForOddShapesOfEveryType) {
  const Shape shapes[] = {{1, 1, 1},   {1, 3, 7},    {1, 64, 64},  {2, 17, 33},  {3, 40, 129}, {4, 5, 96},  {5, 33, 31},
                          {7, 16, 32}, {8, 100, 65}, {16, 31, 48}, {17, 48, 70}, {33, 70, 40}, {65, 9, 130}};
  for (const Shape& s : shapes) {
    for (DType dtype : kComputeDTypes) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " ", s.m, "x", s.n, "x", s.k));
      Compare<GemmParams>([&](Arena& a) { return Build(a, s, dtype, dtype, dtype); }, &Backend::Gemm,
                          SumTolerance(dtype, s.k));
      Compare<GemmParams>([&](Arena& a) { return Build(a, s, dtype, dtype, DType::kF32); }, &Backend::Gemm,
                          SumTolerance(DType::kF32, s.k));
    }
  }
}

TEST_P(GemmTest, MatchesForLargeShapes) {
  for (const Shape& s : {Shape{1, 300, 1536}, {9, 260, 1000}, {130, 190, 520}, {256, 129, 257}, {531, 41, 900}}) {
    SCOPED_TRACE(absl::StrCat(s.m, "x", s.n, "x", s.k));
    Compare<GemmParams>([&](Arena& a) { return Build(a, s, DType::kBF16, DType::kBF16, DType::kBF16); }, &Backend::Gemm,
                        SumTolerance(DType::kBF16, s.k));
  }
}

TEST_P(GemmTest, MixesTypes) {
  for (DType x : kComputeDTypes) {
    for (DType w : kComputeDTypes) {
      SCOPED_TRACE(absl::StrCat(DTypeName(x), " times ", DTypeName(w)));
      Compare<GemmParams>(
          [&](Arena& a) {
            return Build(a, {5, 19, 77}, x, w, DType::kF32);
          },
          &Backend::Gemm, SumTolerance(DType::kF32, 77));
    }
  }
}

TEST_P(GemmTest, AddsBiasAndWhatIsThere) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t m : {1, 6, 40}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " m ", m));
      Compare<GemmParams>(
          [&](Arena& a) {
            GemmParams p = Build(a, {m, 37, 50}, dtype, dtype, dtype);
            p.bias = a.Random(dtype, {37}, 5.0f);
            p.out = a.Random(dtype, {m, 37}, 5.0f, 1);
            p.accumulate = true;
            a.AlsoWritten(p.out);
            return p;
          },
          &Backend::Gemm, SumTolerance(dtype, 60));
    }
  }
}

TEST_P(GemmTest, EmptyDimensionsGiveNothingOrTheBias) {
  for (const Shape& s : {Shape{0, 5, 8}, {3, 0, 8}, {3, 5, 0}}) {
    Compare<GemmParams>(
        [&](Arena& a) {
          GemmParams p = Build(a, s, DType::kBF16, DType::kBF16, DType::kBF16);
          p.bias = a.Random(DType::kBF16, {s.n});
          return p;
        },
        &Backend::Gemm, {});
  }
}

TEST_P(GemmTest, NanStaysInItsRow) {
  for (DType dtype : kComputeDTypes) {
    Compare<GemmParams>(
        [&](Arena& a) {
          std::vector<float> x(3 * 40, 1.0f);
          x[41] = NAN;
          return GemmParams{.x = a.Values(dtype, {3, 40}, x),
                            .w = WeightView::Plain(a.Random(dtype, {20, 40})),
                            .bias = {},
                            .out = a.Output(dtype, {3, 20})};
        },
        &Backend::Gemm, SumTolerance(dtype, 40));
  }
}

TEST_P(GemmTest, IntegersAreExact) {
  // Sums of small integers are exact in float32 in any order, so every backend gives the same bits.
  Arena a(backend());
  const TensorView out = a.Output(DType::kF32, {2, 3});
  ASSERT_EQ(backend()->Gemm({.x = a.Values(DType::kBF16, {2, 2}, {1, 2, 3, 4}),
                             .w = WeightView::Plain(a.Values(DType::kBF16, {3, 2}, {1, 0, 0, 1, 5, -6})),
                             .bias = {},
                             .out = out}),
            absl::OkStatus());
  EXPECT_EQ(a.Read(out), (std::vector<double>{1, 2, -7, 3, 4, -9}));
}

TEST_P(GemmTest, BatchedMatchesInBothOrientations) {
  for (DType dtype : kComputeDTypes) {
    for (bool transpose : {false, true}) {
      for (int64_t tokens : {0, 1, 3, 37}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), transpose ? " transposed" : "", " tokens ", tokens));
        Compare<BatchedGemmParams>(
            [&](Arena& a) {
              const int64_t k = 19, n = transpose ? 270 : 23;
              const TensorView x = a.Random(dtype, {tokens, 3, k + 4});  // a part of wider heads
              return BatchedGemmParams{
                  .x = x.Slice(2, 0, k),
                  .w = WeightView::Plain(transpose ? a.Random(dtype, {3, k, n}) : a.Random(dtype, {3, n, k}, 1.0f, 1)),
                  .out = a.Output(dtype, {tokens, 3, n}, 2),
                  .transpose_w = transpose};
            },
            &Backend::BatchedGemm, SumTolerance(dtype, 19));
      }
    }
  }
}

TEST_P(GemmTest, BatchedMixesTypes) {
  for (DType x : kComputeDTypes) {
    Compare<BatchedGemmParams>(
        [&](Arena& a) {
          return BatchedGemmParams{.x = a.Random(x, {40, 2, 33}),
                                   .w = WeightView::Plain(a.Random(DType::kBF16, {2, 9, 33})),
                                   .out = a.Output(DType::kF32, {40, 2, 9})};
        },
        &Backend::BatchedGemm, SumTolerance(DType::kF32, 33));
  }
}

TEST_P(GemmTest, GroupedTakesEachExpertsWeights) {
  for (DType dtype : kComputeDTypes) {
    Arena expected(reference()), actual(backend());
    const auto build = [&](Arena& a) {
      GroupedGemmParams p{.x = a.Random(dtype, {9, 50}, 1.0f, 2),
                          .expert_start = a.Ints({5}, {1, 3, 3, 8, 9}),  // row 0 belongs to nobody, expert 1 has no row
                          .w = {},
                          .out = a.Random(dtype, {9, 70}, 1.0f, 1)};
      a.AlsoWritten(p.out);
      return p;
    };
    const auto weights = [&](Arena& a) {
      GroupedWeightView w;
      std::vector<int64_t> addresses;
      for (int e = 0; e < 4; ++e) {
        if (e != 1) w.each = WeightView::Plain(a.Random(dtype, {70, 50}, 1.0f, 3));
        addresses.push_back(e == 1 ? 0 : Arena::Address(w.each.values));
      }
      w.values = a.Longs({4}, addresses);
      return w;
    };
    GroupedGemmParams expected_params = build(expected), actual_params = build(actual);
    expected_params.w = weights(expected);
    actual_params.w = weights(actual);
    ASSERT_EQ(reference()->GroupedGemm(expected_params), absl::OkStatus());
    ASSERT_EQ(backend()->GroupedGemm(actual_params), absl::OkStatus());
    ASSERT_EQ(backend()->Synchronize(), absl::OkStatus());
    actual.ExpectLike(expected, SumTolerance(dtype, 50));
  }
}

TEST_P(GemmTest, RefusesDisagreeingShapes) {
  Arena a(backend());
  const absl::Status status = backend()->Gemm({.x = a.Random(DType::kF32, {2, 8}),
                                               .w = WeightView::Plain(a.Random(DType::kF32, {3, 9})),
                                               .bias = {},
                                               .out = a.Output(DType::kF32, {2, 3})});
  EXPECT_EQ(status.message(), "gemm: w: expected [any, 8], found f32 [3, 9]");
}

// What CheckWeight says of a weight must come from every op that takes one.
TEST_P(GemmTest, RefusesScalesThatTheSchemeDoesNotHave) {
  Arena a(backend());
  const WeightView plain = WeightView::Plain(a.Random(DType::kBF16, {2, 3, 8}));
  WeightView scaled = plain;
  scaled.scales = a.Random(DType::kF32, {2, 3});
  const TensorView x = a.Random(DType::kF32, {4, 8}), out = a.Output(DType::kF32, {4, 3});
  const TensorView x_heads = a.Random(DType::kF32, {4, 2, 8}), out_heads = a.Output(DType::kF32, {4, 2, 3});
  const TensorView start = a.Ints({3}, {0, 2, 4});
  const TensorView addresses = a.Longs({2}, {Arena::Address(plain.At(0).values), Arena::Address(plain.At(1).values)});

  const absl::Status gemm = backend()->Gemm({.x = x, .w = scaled.At(1), .bias = {}, .out = out});
  EXPECT_EQ(gemm, absl::InvalidArgumentError("gemm: w.scales: expected none with scheme plain, found f32 [3]"));
  EXPECT_EQ(backend()->BatchedGemm({.x = x_heads, .w = scaled, .out = out_heads}),
            absl::InvalidArgumentError("batched_gemm: w.scales: expected none with scheme plain, found f32 [2, 3]"));
  const auto grouped = [&](const GroupedWeightView& w) {
    return backend()->GroupedGemm({.x = x, .expert_start = start, .w = w, .out = out});
  };
  EXPECT_EQ(grouped({.values = addresses, .scales = addresses, .each = scaled.At(1)}),
            absl::InvalidArgumentError("grouped_gemm: w.each.scales: expected none with scheme plain, found f32 [3]"));
  EXPECT_EQ(grouped({.values = addresses, .scales = {}, .each = scaled.At(1)}),
            absl::InvalidArgumentError("grouped_gemm: w.scales: expected [2], found absent"));
  EXPECT_EQ(
      grouped({.values = addresses, .scales = addresses, .each = plain.At(1)}),
      absl::InvalidArgumentError("grouped_gemm: w.scales: expected none for weights without scales, found i64 [2]"));
  EXPECT_EQ(grouped({.values = addresses, .scales = {}, .each = plain.At(1)}), absl::OkStatus());
  EXPECT_EQ(backend()->Synchronize(), absl::OkStatus());
}

TEST_P(GemmTest, RefusesAnUnknownScheme) {
  Arena a(backend());
  WeightView w = WeightView::Plain(a.Random(DType::kF32, {3, 8}));
  w.scheme = static_cast<WeightScheme>(200);
  EXPECT_EQ(
      backend()->Gemm({.x = a.Random(DType::kF32, {2, 8}), .w = w, .bias = {}, .out = a.Output(DType::kF32, {2, 3})}),
      absl::InvalidArgumentError("gemm: w: unknown scheme 200"));
}

TEST_P(GemmTest, GroupedChecksTheListAndEachWeight) {
  Arena a(backend());
  const TensorView x = a.Random(DType::kF32, {4, 8}), start = a.Ints({3}, {0, 2, 4});
  const TensorView values = a.Longs({2}, {0, 0});
  const auto refusal = [&](const GroupedWeightView& w, const TensorView& out) {
    return std::string(backend()->GroupedGemm({.x = x, .expert_start = start, .w = w, .out = out}).message());
  };
  const TensorView out = a.Output(DType::kF32, {4, 3});
  const WeightView each = WeightView::Plain(a.Random(DType::kF32, {3, 8}));
  EXPECT_EQ(refusal({.values = values, .scales = {}, .each = WeightView::Plain(a.Random(DType::kF32, {3, 9}))}, out),
            "grouped_gemm: w.each: expected [any, 8], found f32 [3, 9]");
  EXPECT_EQ(refusal({.values = a.Ints({2}, {0, 0}), .scales = {}, .each = each}, out),
            "grouped_gemm: w.values: expected i64, found i32 [2]");
  EXPECT_EQ(refusal({.values = a.Longs({3}, {0, 0, 0}), .scales = {}, .each = each}, out),
            "grouped_gemm: expert_start: expected [4], found i32 [3]");
  EXPECT_EQ(refusal({.values = values, .scales = {}, .each = each}, a.Output(DType::kF32, {4, 5})),
            "grouped_gemm: out: expected [4, 3], found f32 [4, 5]");
}

}  // namespace
}  // namespace hadal::kernels
