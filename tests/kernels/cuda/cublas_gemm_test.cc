// SPDX-License-Identifier: Apache-2.0
//
// How cuBLASLt is asked, and what happens when it refuses; against a library that says what the test wants.
#include "kernels/cuda/cublas_gemm.h"

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/half.h"
#include "tests/kernels/cuda/fake_cublas/library.h"

namespace hadal::kernels::cuda {
namespace {

using ::testing::HasSubstr;

class CublasGemmTest : public ::testing::Test {
 protected:
  static constexpr int64_t kMostRows = 16, kN = 24, kK = 32;

  CublasGemmTest()
      : workspace_(CublasGemm::WorkspaceBytes(false)), x_(kMostRows * kK), w_(kN * kK), out_(kMostRows * kN) {
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = FromFloat<BF16>(static_cast<float>(i % 7) - 3);
    for (size_t i = 0; i < w_.size(); ++i) w_[i] = FromFloat<BF16>(static_cast<float>(i % 5) - 2);
  }
  ~CublasGemmTest() override {
    gemm_.reset();
    EXPECT_EQ(TheCublas().objects, 0);  // descriptors, layouts, preferences, events, the handle
    TheCublas() = {};
  }

  CublasGemm& Open(CublasGemm::Options options = {}) {
    options.workspace = workspace_.data();
    gemm_ = *CublasGemm::Create(nullptr, options);
    return *gemm_;
  }

  GemmPlan Plan(int64_t rows = 4, bool accumulate = false) {
    return *PlanGemm({.x = TensorView(x_.data(), DType::kBF16, {rows, kK}),
                      .w = WeightView::Plain(TensorView(w_.data(), DType::kBF16, {kN, kK})),
                      .bias = {},
                      .out = TensorView(out_.data(), DType::kF32, {rows, kN}),
                      .accumulate = accumulate});
  }

  float Expected(int64_t row, int64_t column) const {
    float sum = 0;
    for (int64_t k = 0; k < kK; ++k) sum += ToFloat(x_[row * kK + k]) * ToFloat(w_[column * kK + k]);
    return sum;
  }

  std::vector<char> workspace_;
  std::vector<BF16> x_, w_;
  std::vector<float> out_;
  std::unique_ptr<CublasGemm> gemm_;
};

TEST_F(CublasGemmTest, RowsTimesWeightsOfRows) {
  CublasGemm& gemm = Open();
  ASSERT_EQ(gemm.Run(Plan()), absl::OkStatus());
  for (int64_t row = 0; row < 4; ++row) {
    for (int64_t column = 0; column < kN; ++column) EXPECT_EQ(out_[row * kN + column], Expected(row, column));
  }
  ASSERT_EQ(gemm.Run(Plan(4, /*accumulate=*/true)), absl::OkStatus());
  EXPECT_EQ(out_[5], 2 * Expected(0, 5));
  EXPECT_EQ(TheCublas().workspace, workspace_.data());
  EXPECT_EQ(TheCublas().workspace_bytes, workspace_.size());
  EXPECT_EQ(TheCublas().reductions, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);  // no sums in a half type
}

TEST_F(CublasGemmTest, ABiasOfTheOutputsTypeIsAdded) {
  std::vector<BF16> bias(kN), out(4 * kN);
  for (int64_t i = 0; i < kN; ++i) bias[i] = FromFloat<BF16>(static_cast<float>(i));
  ASSERT_EQ(Open().Run(*PlanGemm({.x = TensorView(x_.data(), DType::kBF16, {4, kK}),
                                  .w = WeightView::Plain(TensorView(w_.data(), DType::kBF16, {kN, kK})),
                                  .bias = TensorView(bias.data(), DType::kBF16, {kN}),
                                  .out = TensorView(out.data(), DType::kBF16, {4, kN})})),
            absl::OkStatus());
  EXPECT_EQ(ToFloat(out[2 * kN + 7]), ToFloat(FromFloat<BF16>(Expected(2, 7) + 7)));
}

// One product a head, of rows in the middle of a weight: as absorbed latent attention asks for, both ways.
TEST_F(CublasGemmTest, ProductsOfHeadsHaveTheirStrides) {
  constexpr int64_t kTokens = 3, kHeads = 2, kNope = 4, kLatent = 16;
  std::vector<BF16> kv_b(kHeads * 8 * kLatent), q(kTokens * kHeads * kNope);
  std::vector<float> out(kTokens * kHeads * kLatent);
  for (size_t i = 0; i < kv_b.size(); ++i) kv_b[i] = FromFloat<BF16>(static_cast<float>(i % 11) - 5);
  for (size_t i = 0; i < q.size(); ++i) q[i] = FromFloat<BF16>(static_cast<float>(i % 3));
  const WeightView w = WeightView::Plain(TensorView(kv_b.data(), DType::kBF16, {kHeads, 8, kLatent}));
  CublasGemm& gemm = Open();
  ASSERT_EQ(gemm.Run(*PlanBatchedGemm({.x = TensorView(q.data(), DType::kBF16, {kTokens, kHeads, kNope}),
                                       .w = w.Rows(0, kNope),
                                       .out = TensorView(out.data(), DType::kF32, {kTokens, kHeads, kLatent}),
                                       .transpose_w = true})),
            absl::OkStatus());
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t n = 0; n < kLatent; ++n) {
        float sum = 0;
        for (int64_t k = 0; k < kNope; ++k) {
          sum += ToFloat(q[(t * kHeads + h) * kNope + k]) * ToFloat(kv_b[(h * 8 + k) * kLatent + n]);
        }
        EXPECT_EQ(out[(t * kHeads + h) * kLatent + n], sum) << t << " " << h << " " << n;
      }
    }
  }
}

// The library offers an algorithm and then does not take the product.
TEST_F(CublasGemmTest, ALateRefusalIsToldAndRemembered) {
  for (const cublasStatus_t late : {CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_STATUS_INVALID_VALUE,
                                    CUBLAS_STATUS_ARCH_MISMATCH, CUBLAS_STATUS_INTERNAL_ERROR}) {
    TheCublas() = {};
    CublasGemm& gemm = Open();
    TheCublas().refused[0] = late;
    const absl::Status refused = gemm.Run(Plan());
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented) << late;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("cublasLtMatmul: "));
    EXPECT_GT(TheCublas().errors_taken, 0);  // or the next launch would find it
    TheCublas().refused.clear();
    EXPECT_EQ(gemm.Run(Plan()), refused);
    EXPECT_EQ(TheCublas().products, 1);  // it is not asked again
    EXPECT_EQ(gemm.Run(Plan(5)), absl::OkStatus());
    gemm_.reset();
  }
}

TEST_F(CublasGemmTest, NoAlgorithmIsToldAndRemembered) {
  CublasGemm& gemm = Open();
  TheCublas().algorithms = 0;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(gemm.Run(Plan()), absl::UnimplementedError("no algorithm"));
  EXPECT_EQ(TheCublas().heuristics, 1);
  TheCublas().heuristic = CUBLAS_STATUS_NOT_SUPPORTED;
  EXPECT_EQ(gemm.Run(Plan(5)), absl::UnimplementedError("cublasLtMatmulAlgoGetHeuristic: not supported"));
  EXPECT_EQ(TheCublas().products, 0);
}

TEST_F(CublasGemmTest, AFailureIsNoRefusal) {
  CublasGemm& gemm = Open();
  TheCublas().refused[0] = CUBLAS_STATUS_EXECUTION_FAILED;
  EXPECT_EQ(gemm.Run(Plan()).code(), absl::StatusCode::kInternal);
  TheCublas().refused[0] = CUBLAS_STATUS_ALLOC_FAILED;
  EXPECT_EQ(gemm.Run(Plan()).code(), absl::StatusCode::kResourceExhausted);
  TheCublas().refused.clear();
  EXPECT_EQ(gemm.Run(Plan()), absl::OkStatus());
}

TEST_F(CublasGemmTest, AlgorithmsAreChosenForTheMultiprocessorsOfThisProcess) {
  ASSERT_EQ(Open().Run(Plan()), absl::OkStatus());
  EXPECT_EQ(TheCublas().multiprocessors, 0);
  gemm_.reset();
  ASSERT_EQ(Open({.multiprocessors = 33}).Run(Plan()), absl::OkStatus());
  EXPECT_EQ(TheCublas().multiprocessors, 33);
}

TEST_F(CublasGemmTest, OneAlgorithmServesEveryNumberOfRowsAndSplitsNoSum) {
  CublasGemm& gemm = Open({.batch_invariant = true});
  TheCublas().splitting = {0};
  TheCublas().unfit = {1};
  for (const int64_t rows : {1, 4, 16}) {
    ASSERT_EQ(gemm.Run(Plan(rows)), absl::OkStatus());
    EXPECT_EQ(TheCublas().algorithm, 2u);
    EXPECT_EQ(TheCublas().workspace_bytes, 0u);
  }
  EXPECT_EQ(TheCublas().heuristics, 1);
  EXPECT_EQ(TheCublas().reductions, CUBLASLT_REDUCTION_SCHEME_NONE);
  TheCublas().refused[2] = CUBLAS_STATUS_NOT_SUPPORTED;  // another kernel would add in another order
  EXPECT_EQ(gemm.Run(Plan(3)).code(), absl::StatusCode::kInternal);
  gemm_.reset();
  TheCublas().unfit = {1, 2, 3};
  EXPECT_THAT(std::string(Open({.batch_invariant = true}).Run(Plan()).message()),
              HasSubstr("no algorithm adds in one order"));
}

TEST_F(CublasGemmTest, AWarmUpTakesTheQuickest) {
  AlgorithmTuner tuner(
      {"GPU", 1, 2, 0},
      {.folder = "", .limit_us = 1000000, .now_us = [] { return int64_t{0}; }, .note = {}, .warn = {}});
  CublasGemm& gemm = Open({.tuner = &tuner});
  TheCublas().ms = {{1, 0.5f}, {2, 0.25f}};
  TheCublas().refused[3] = CUBLAS_STATUS_NOT_SUPPORTED;  // what the library does not take after all
  tuner.Begin();
  ASSERT_EQ(gemm.Run(Plan()), absl::OkStatus());
  EXPECT_EQ(TheCublas().algorithm, 2u);
  EXPECT_EQ(out_[5], Expected(0, 5));
  TheCublas().capturing = true;  // launches that are recorded do not run
  ASSERT_EQ(gemm.Run(Plan(5)), absl::OkStatus());
  EXPECT_EQ(TheCublas().algorithm, 0u);
  TheCublas().capturing = false;
  out_[5] = 1;
  ASSERT_EQ(gemm.Run(Plan(6, /*accumulate=*/true)), absl::OkStatus());
  EXPECT_EQ(out_[5], 1 + Expected(0, 5));  // added once
  tuner.End();
  ASSERT_EQ(gemm.Run(Plan(7)), absl::OkStatus());
  EXPECT_EQ(TheCublas().algorithm, 0u);
}

TEST_F(CublasGemmTest, WhatAnEarlierStartFoundIsCheckedAndNotTimed) {
  AlgorithmTuner tuner(
      {"GPU", 1, 2, 0},
      {.folder = "", .limit_us = 1000000, .now_us = [] { return int64_t{0}; }, .note = {}, .warn = {}});
  tuner.Begin();
  TheCublas().ms = {{2, 0.25f}};
  ASSERT_EQ(Open({.tuner = &tuner}).Run(Plan()), absl::OkStatus());
  tuner.End();
  gemm_.reset();  // the next start
  TheCublas() = {};
  ASSERT_EQ(Open({.tuner = &tuner}).Run(Plan()), absl::OkStatus());
  EXPECT_EQ(TheCublas().algorithm, 2u);
  EXPECT_EQ(TheCublas().heuristics, 0);
  EXPECT_EQ(TheCublas().products, 1);
  gemm_.reset();
  TheCublas() = {};
  TheCublas().unfit = {2};
  ASSERT_EQ(Open({.tuner = &tuner}).Run(Plan()), absl::OkStatus());
  EXPECT_EQ(TheCublas().algorithm, 0u);
  EXPECT_EQ(TheCublas().heuristics, 1);
}

}  // namespace
}  // namespace hadal::kernels::cuda
