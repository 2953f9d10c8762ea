// SPDX-License-Identifier: Apache-2.0
//
// feed_tokens, embedding, rms_norm, rope, kv_append, silu_mul and cast on every backend against the reference.
#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kWidths[] = {1, 2, 7, 8, 16, 31, 64, 129, 576, 1536};

// Units in the last place, as the headers of the ops state them.
Tolerance Rounding(DType dtype, int units = 1) {
  if (dtype == DType::kBF16) return {1e-6f, static_cast<float>(units) * 0x1p-7f};
  if (dtype == DType::kF16) return {1e-6f, static_cast<float>(units) * 0x1p-10f};
  return {1e-6f, 1e-5f};
}

class ElementwiseTest : public OpTest {};
HADAL_INSTANTIATE_OP_TEST(ElementwiseTest);

// Rows with a fault and rows that are not there give 0; what is known stays.
TEST_P(ElementwiseTest, FeedTokensSetsWhatTheStepBeforeHasSampled) {
  for (const int64_t tokens : {0, 1, 9, 700}) {
    Compare<FeedTokensParams>(
        [&](Arena& a) {
          std::vector<int32_t> ids;
          for (int64_t t = 0; t < tokens; ++t) ids.push_back(static_cast<int32_t>(t % 3 == 0 ? t : -1 - t % 7));
          FeedTokensParams p{.ids = a.Ints({tokens}, ids), .sampled = a.Ints({5}, {11, 0, -1, 100000, 7})};
          a.AlsoWritten(p.ids);
          return p;
        },
        &Backend::FeedTokens, {});
  }
}

TEST_P(ElementwiseTest, EmbeddingCopiesRowsAndZeroesUnknownIds) {
  for (DType table : kComputeDTypes) {
    for (DType out : kComputeDTypes) {
      for (int64_t hidden : kWidths) {
        SCOPED_TRACE(absl::StrCat(DTypeName(table), " to ", DTypeName(out), ", hidden ", hidden));
        Compare<EmbeddingParams>(
            [&](Arena& a) {
              return EmbeddingParams{.ids = a.Ints({5}, {3, 0, 9, -1, 6}),
                                     .table = a.Random(table, {7, hidden}, 1.0f, 3),
                                     .out = a.Output(out, {5, hidden}, 2)};
            },
            &Backend::Embedding, {});
      }
    }
  }
}

TEST_P(ElementwiseTest, EmbeddingOfNothingIsNothing) {
  Compare<EmbeddingParams>(
      [&](Arena& a) {
        return EmbeddingParams{
            .ids = a.Ints({0}, {}), .table = a.Random(DType::kBF16, {7, 8}), .out = a.Output(DType::kBF16, {0, 8})};
      },
      &Backend::Embedding, {});
}

TEST_P(ElementwiseTest, RmsNormMatches) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t dim : kWidths) {
      for (int64_t rows : {0, 1, 5}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", rows, " dim ", dim));
        Compare<RmsNormParams>(
            [&](Arena& a) {
              return RmsNormParams{.x = a.Random(dtype, {rows, dim}, 3.0f, 5),
                                   .residual = {},
                                   .weight = a.Random(dtype, {dim}),
                                   .out = a.Output(dtype, {rows, dim}, 1),
                                   .eps = 1e-5f};
            },
            &Backend::RmsNorm, Rounding(dtype, 2));
      }
    }
  }
}

TEST_P(ElementwiseTest, LayerNormSubtractsTheMeanAndAddsTheBias) {
  Arena a(backend());
  const TensorView out = a.Output(DType::kF32, {1, 4});
  ASSERT_EQ(backend()->LayerNorm({.x = a.Values(DType::kF32, {1, 4}, {1, 3, 5, 7}),
                                  .weight = a.Values(DType::kF32, {4}, {1, 2, 1, 1}),
                                  .bias = a.Values(DType::kF32, {4}, {0, 0, 10, 0}),
                                  .out = out,
                                  .eps = 4.0f}),  // mean 4, variance 5, deviation 3 with eps
            absl::OkStatus());
  const std::vector<double> values = a.Read(out), expected = {-1, -2.0 / 3, 10 + 1.0 / 3, 1};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(values[i], expected[i], 1e-6);
}

TEST_P(ElementwiseTest, LayerNormMatches) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t dim : kWidths) {
      for (int64_t rows : {0, 1, 5}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", rows, " dim ", dim));
        Compare<LayerNormParams>(
            [&](Arena& a) {
              return LayerNormParams{.x = a.Random(dtype, {rows, dim}, 3.0f, 5),
                                     .weight = a.Random(dtype, {dim}),
                                     .bias = a.Random(DType::kF32, {dim}),
                                     .out = a.Output(dtype, {rows, dim}, 1),
                                     .eps = 1e-5f};
            },
            &Backend::LayerNorm, {dtype == DType::kF32 ? 2e-5f : 1e-4f, Rounding(dtype).relative});
      }
    }
  }
}

TEST_P(ElementwiseTest, LayerNormWorksInPlace) {
  Compare<LayerNormParams>(
      [&](Arena& a) {
        const TensorView x = a.Random(DType::kBF16, {4, 128}, 1.0f, 6);
        a.AlsoWritten(x);
        return LayerNormParams{
            .x = x, .weight = a.Random(DType::kBF16, {128}), .bias = a.Random(DType::kBF16, {128}), .out = x};
      },
      &Backend::LayerNorm, {1e-4f, Rounding(DType::kBF16).relative});
}

TEST_P(ElementwiseTest, RmsNormAddsTheResidualFirst) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t dim : {7, 64, 1536}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " dim ", dim));
      Compare<RmsNormParams>(
          [&](Arena& a) {
            RmsNormParams p{.x = a.Random(dtype, {3, dim}),
                            .residual = a.Random(dtype, {3, dim}, 2.0f, 4),
                            .weight = a.Random(DType::kF32, {dim}),
                            .out = a.Output(dtype, {3, dim})};
            a.AlsoWritten(p.residual);
            return p;
          },
          &Backend::RmsNorm, Rounding(dtype, 2));
    }
  }
}

TEST_P(ElementwiseTest, RmsNormWithoutOutputOnlyAdds) {
  Compare<RmsNormParams>(
      [&](Arena& a) {
        RmsNormParams p{.x = a.Random(DType::kBF16, {3, 17}), .residual = a.Random(DType::kBF16, {3, 17})};
        a.AlsoWritten(p.residual);
        return p;
      },
      &Backend::RmsNorm, {});
}

TEST_P(ElementwiseTest, RmsNormWorksPerHeadAndInPlace) {
  for (DType dtype : kComputeDTypes) {
    Compare<RmsNormParams>(
        [&](Arena& a) {
          const TensorView x = a.Random(dtype, {4, 3, 40}, 1.0f, 6);
          a.AlsoWritten(x);
          return RmsNormParams{.x = x, .residual = {}, .weight = a.Random(dtype, {40}), .out = x};
        },
        &Backend::RmsNorm, Rounding(dtype, 2));
  }
}

TEST_P(ElementwiseTest, RmsNormMultipliesInFloat32OnRequest) {
  for (DType dtype : kComputeDTypes) {
    Compare<RmsNormParams>(
        [&](Arena& a) {
          return RmsNormParams{.x = a.Random(dtype, {4, 75}),
                               .residual = {},
                               .weight = a.Random(DType::kF32, {75}),
                               .out = a.Output(dtype, {4, 75}),
                               .float32_product = true};
        },
        &Backend::RmsNorm, Rounding(dtype));
  }
  Arena a(backend());
  RmsNormParams p{.x = a.Values(DType::kBF16, {1, 2}, {1, 2}),
                  .residual = {},
                  .weight = a.Values(DType::kF32, {2}, {1, 1}),
                  .out = a.Output(DType::kF32, {1, 2}),
                  .eps = 0};
  ASSERT_EQ(backend()->RmsNorm(p), absl::OkStatus());
  EXPECT_EQ(a.Read(p.out)[1], 1.265625);  // the bf16 next to 2 / sqrt(2.5)
  p.float32_product = true;
  ASSERT_EQ(backend()->RmsNorm(p), absl::OkStatus());
  EXPECT_NEAR(a.Read(p.out)[1], 2 / std::sqrt(2.5), 1e-6);
}

TEST_P(ElementwiseTest, RmsNormNeedsNoWeight) {
  for (DType dtype : kComputeDTypes) {
    Compare<RmsNormParams>(
        [&](Arena& a) {
          const TensorView x = a.Random(dtype, {4, 5, 24}, 2.0f, 3);
          a.AlsoWritten(x);
          return RmsNormParams{.x = x, .residual = {}, .weight = {}, .out = x};
        },
        &Backend::RmsNorm, Rounding(dtype));
  }
}

TEST_P(ElementwiseTest, RmsNormKeepsNanInItsRow) {
  Compare<RmsNormParams>(
      [&](Arena& a) {
        std::vector<float> values(3 * 33, 0.5f);
        values[40] = NAN;
        values[70] = INFINITY;
        return RmsNormParams{.x = a.Values(DType::kF32, {3, 33}, values),
                             .residual = {},
                             .weight = a.Random(DType::kF32, {33}),
                             .out = a.Output(DType::kF32, {3, 33})};
      },
      &Backend::RmsNorm, Rounding(DType::kF32));
}

TEST_P(ElementwiseTest, RopeRotatesBothLayoutsAndPartsOfHeads) {
  for (RopeLayout layout : {RopeLayout::kHalfSplit, RopeLayout::kInterleaved}) {
    for (DType dtype : kComputeDTypes) {
      for (int64_t half : {1, 3, 8, 32, 64}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " half ", half));
        Compare<RopeParams>(
            [&](Arena& a) {
              TensorView q = a.Random(dtype, {5, 3, 2 * half + 6}, 1.0f, 4);
              const TensorView k = a.Random(dtype, {5, 1, 2 * half});
              a.AlsoWritten(q);
              a.AlsoWritten(k);
              q = q.Slice(2, 6, 2 * half);  // the rotated part comes last
              return RopeParams{.q = q,
                                .k = k,
                                .positions = a.Ints({5}, {0, 8, 3, 11, -1}),  // two lie outside the tables
                                .cos = a.Random(DType::kF32, {9, half}),
                                .sin = a.Random(DType::kF32, {9, half}),
                                .layout = layout};
            },
            &Backend::Rope, Rounding(dtype));
      }
    }
  }
}

TEST_P(ElementwiseTest, InverseRopeUndoesRope) {
  for (RopeLayout layout : {RopeLayout::kHalfSplit, RopeLayout::kInterleaved}) {
    Arena a(backend());
    const TensorView x = a.Random(DType::kF32, {3, 2, 14});
    std::vector<float> cos, sin;
    for (int i = 0; i < 9 * 5; ++i) {
      cos.push_back(std::cos(0.3f * static_cast<float>(i)));
      sin.push_back(std::sin(0.3f * static_cast<float>(i)));
    }
    RopeParams p{.q = x.Slice(2, 4, 10),
                 .k = {},
                 .positions = a.Ints({3}, {1, 8, 3}),
                 .cos = a.Values(DType::kF32, {9, 5}, cos),
                 .sin = a.Values(DType::kF32, {9, 5}, sin),
                 .layout = layout};
    const std::vector<double> before = a.Read(x);
    ASSERT_EQ(backend()->Rope(p), absl::OkStatus());
    const std::vector<double> rotated = a.Read(x);
    EXPECT_GT(std::fabs(rotated[5] - before[5]), 1e-3);
    p.inverse = true;
    ASSERT_EQ(backend()->Rope(p), absl::OkStatus());
    const std::vector<double> after = a.Read(x);
    for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-5);
  }
}

TEST_P(ElementwiseTest, KvAppendWritesSlotsAndSkipsPadding) {
  for (DType from : kComputeDTypes) {
    for (DType to : kComputeDTypes) {
      for (bool wide_slots : {false, true}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(from), " to ", DTypeName(to)));
        Compare<KvAppendParams>(
            [&](Arena& a) {
              KvAppendParams p{.k = a.Random(from, {5, 2, 19}, 1.0f, 3),
                               .v = a.Random(from, {5, 2, 8}),
                               .k_cache = a.Random(to, {3, 4, 2, 19}),
                               .v_cache = a.Random(to, {3, 4, 2, 8})};
              a.AlsoWritten(p.k_cache);
              a.AlsoWritten(p.v_cache);
              p.slot_mapping = wide_slots ? a.Longs({5}, {11, -1, 0, 5, 12}) : a.Ints({5}, {11, -1, 0, 5, 12});
              return p;
            },
            &Backend::KvAppend, {});
      }
    }
  }
}

TEST_P(ElementwiseTest, KvAppendFillsTheTwoPartsOfALatentCache) {
  Compare<KvAppendParams>(
      [&](Arena& a) {
        const TensorView cache = a.Random(DType::kBF16, {3, 4, 1, 40});
        a.AlsoWritten(cache);
        return KvAppendParams{.k = a.Random(DType::kBF16, {3, 1, 32}),
                              .v = a.Random(DType::kBF16, {3, 1, 8}),
                              .k_cache = cache.Slice(3, 0, 32),
                              .v_cache = cache.Slice(3, 32, 8),
                              .slot_mapping = a.Longs({3}, {4, 2, 9})};
      },
      &Backend::KvAppend, {});
}

TEST_P(ElementwiseTest, SiluMulMatches) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t inter : {1, 5, 16, 33, 2048, 8960}) {
      for (int64_t rows : {0, 1, 4}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", rows, " inter ", inter));
        Compare<SiluMulParams>(
            [&](Arena& a) {
              const TensorView both = a.Random(dtype, {rows, 2 * inter}, 4.0f);
              return SiluMulParams{.gate = both.Slice(1, 0, inter),
                                   .up = both.Slice(1, inter, inter),
                                   .out = a.Output(dtype, {rows, inter}, 3)};
            },
            &Backend::SiluMul, Rounding(dtype));
      }
    }
  }
}

TEST_P(ElementwiseTest, SiluMulCutsGateAboveAndUpOnBothSides) {
  Arena a(backend());
  const TensorView out = a.Output(DType::kF32, {1, 4});
  ASSERT_EQ(backend()->SiluMul({.gate = a.Values(DType::kF32, {1, 4}, {5, -5, 1, NAN}),
                                .up = a.Values(DType::kF32, {1, 4}, {1, 4, -4, 1}),
                                .out = out,
                                .limit = 2}),
            absl::OkStatus());
  const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  const std::vector<double> found = a.Read(out);
  EXPECT_NEAR(found[0], silu(2), 1e-5);
  EXPECT_NEAR(found[1], silu(-5) * 2, 1e-5);
  EXPECT_NEAR(found[2], silu(1) * -2, 1e-5);
  EXPECT_TRUE(std::isnan(found[3]));
  Compare<SiluMulParams>(
      [&](Arena& b) {
        return SiluMulParams{.gate = b.Random(DType::kBF16, {3, 77}, 4.0f),
                             .up = b.Random(DType::kBF16, {3, 77}, 4.0f),
                             .out = b.Output(DType::kBF16, {3, 77}),
                             .limit = 2.5f};
      },
      &Backend::SiluMul, Rounding(DType::kBF16));
}

TEST_P(ElementwiseTest, SiluMulSurvivesExtremes) {
  Compare<SiluMulParams>(
      [&](Arena& a) {
        const std::vector<float> gate = {-200.0f, -88.0f,   -30.0f, -0.0f, 1e-20f, 88.0f,
                                         200.0f,  INFINITY, NAN,    3e38f, -3e38f};
        const int64_t n = static_cast<int64_t>(gate.size());
        return SiluMulParams{.gate = a.Values(DType::kF32, {1, n}, gate),
                             .up = a.Values(DType::kF32, {1, n}, std::vector<float>(n, 0.5f)),
                             .out = a.Output(DType::kF32, {1, n})};
      },
      &Backend::SiluMul, {1e-30f, 1e-5f});
}

TEST_P(ElementwiseTest, CastRoundsToNearestEvenAndKeepsSpecialValues) {
  std::vector<float> values = {0.0f,      -0.0f, 1.00390625f, 1.01171875f, 65504.0f, 65519.9f,
                               65520.0f,  1e-8f, 2.98e-8f,    6.1e-5f,     5.9e-8f,  INFINITY,
                               -INFINITY, NAN,   3.4e38f,     -1e-40f,     1.0005f,  1.00049f};
  for (int i = 0; i < 50; ++i) values.push_back(std::ldexp(1.0f + static_cast<float>(i) / 64.0f, i - 25));
  for (DType from : kComputeDTypes) {
    for (DType to : kComputeDTypes) {
      SCOPED_TRACE(absl::StrCat(DTypeName(from), " to ", DTypeName(to)));
      Compare<CastParams>(
          [&](Arena& a) {
            return CastParams{.in = a.Values(from, {2, 34}, values, 5), .out = a.Output(to, {2, 34}, 1)};
          },
          &Backend::Cast, {});
      Compare<CastParams>(
          [&](Arena& a) {
            return CastParams{.in = a.Random(from, {2, 3, 2, 13}), .out = a.Output(to, {2, 3, 2, 13}, 1)};
          },
          &Backend::Cast, {});
    }
  }
}

TEST_P(ElementwiseTest, RefusesMismatchedShapes) {
  Arena a(backend());
  const absl::Status status = backend()->SiluMul({.gate = a.Random(DType::kF32, {2, 8}),
                                                  .up = a.Random(DType::kF32, {2, 7}),
                                                  .out = a.Output(DType::kF32, {2, 8})});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "silu_mul: up: expected [2, 8], found f32 [2, 7]");
}

}  // namespace
}  // namespace hadal::kernels
