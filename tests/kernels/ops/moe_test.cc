// SPDX-License-Identifier: Apache-2.0
//
// moe_route, moe_permute and moe_unpermute: worked examples, and every backend against the reference.
#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

class MoeTest : public OpTest {
 protected:
  struct Routed {
    std::vector<double> ids, weights;
  };
  Routed Route(const std::vector<float>& logits, int64_t top_k, MoeRouteParams p, const std::vector<float>& bias = {}) {
    Arena a(backend());
    const int64_t experts = static_cast<int64_t>(logits.size());
    p.logits = a.Values(DType::kF32, {1, experts}, logits);
    if (!bias.empty()) p.correction_bias = a.Values(DType::kF32, {experts}, bias);
    p.ids = a.Output(DType::kI32, {1, top_k});
    p.weights = a.Output(DType::kF32, {1, top_k});
    EXPECT_EQ(backend()->MoeRoute(p), absl::OkStatus());
    return {a.Read(p.ids), a.Read(p.weights)};
  }
};
HADAL_INSTANTIATE_OP_TEST(MoeTest);

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST_P(MoeTest, GreedySoftmaxTakesTheBestProbabilities) {
  const Routed r = Route({0, 2, 1, 2}, 2, {});  // a tie of 1 and 3: the lower index first
  const double total = 1 + 2 * std::exp(2.0) + std::exp(1.0);
  EXPECT_EQ(r.ids, (std::vector<double>{1, 3}));
  EXPECT_NEAR(r.weights[0], std::exp(2.0) / total, 1e-6);
  const Routed scaled = Route({0, 2, 1, 2}, 2, {.norm_topk_prob = true, .routed_scaling = 3});
  EXPECT_NEAR(scaled.weights[0], 1.5, 1e-5);
}

TEST_P(MoeTest, GroupLimitedGreedyRanksGroupsByTheirMaximum) {
  // Groups {0,1}, {2,3}, {4,5}. The best single expert of group 2 loses to those of groups 0 and 1.
  const Routed r = Route({3, 0, 2.9f, 2.8f, 2.85f, 2.84f}, 3,
                         {.method = MoeTopK::kGroupLimitedGreedy, .n_group = 3, .topk_group = 2});
  EXPECT_EQ(r.ids, (std::vector<double>{0, 2, 3}));
}

TEST_P(MoeTest, NoauxRanksGroupsByTheirTwoBestAndBiasOnlyChooses) {
  // Group {0,1}: one strong expert; group {2,3}: two good ones whose sum is larger.
  const std::vector<float> logits = {2.0f, -4.0f, 1.0f, 1.0f};
  const Routed r = Route(logits, 2, {.scoring = MoeScoring::kSigmoid, .method = MoeTopK::kNoauxTc, .n_group = 2});
  EXPECT_EQ(r.ids, (std::vector<double>{2, 3}));
  EXPECT_NEAR(r.weights[0], Sigmoid(1.0), 1e-6);
  const Routed biased = Route(logits, 2,
                              {.scoring = MoeScoring::kSigmoid,
                               .method = MoeTopK::kNoauxTc,
                               .n_group = 2,
                               .norm_topk_prob = true,
                               .routed_scaling = 2.5f},
                              {0.0f, 5.0f, 0.0f, 0.0f});
  EXPECT_EQ(biased.ids, (std::vector<double>{1, 0}));  // the bias lifts expert 1, and with it its group
  const double total = Sigmoid(2.0) + Sigmoid(-4.0);
  EXPECT_NEAR(biased.weights[0], 2.5 * Sigmoid(-4.0) / total, 1e-5);
  EXPECT_NEAR(biased.weights[1], 2.5 * Sigmoid(2.0) / total, 1e-5);
}

TEST_P(MoeTest, MaskedGroupsLoseAgainstNegativeScores) {
  // All biased scores of the kept group are negative; a mask of 0 would let the other group in.
  const Routed r = Route({0, 0, 0, 0}, 2, {.scoring = MoeScoring::kSigmoid, .method = MoeTopK::kNoauxTc, .n_group = 2},
                         {-2.0f, -2.0f, -1.0f, -1.5f});
  EXPECT_EQ(r.ids, (std::vector<double>{2, 3}));
}

TEST_P(MoeTest, SqrtSoftplusScores) {
  const Routed r = Route({0, 30, -2, 1}, 3, {.scoring = MoeScoring::kSqrtSoftplus, .method = MoeTopK::kNoauxTc});
  EXPECT_EQ(r.ids, (std::vector<double>{1, 3, 0}));
  EXPECT_NEAR(r.weights[0], std::sqrt(30.0), 1e-5);
  EXPECT_NEAR(r.weights[1], std::sqrt(std::log1p(std::exp(1.0))), 1e-6);
  EXPECT_NEAR(r.weights[2], std::sqrt(std::log(2.0)), 1e-6);
  const Routed extreme = Route({-80, 1e30f}, 2, {.scoring = MoeScoring::kSqrtSoftplus});
  EXPECT_NEAR(extreme.weights[1], std::exp(-40.0), 1e-20);
  EXPECT_NEAR(extreme.weights[0], 1e15, 1e9);
}

TEST_P(MoeTest, ATableOfTokensGivesTheExperts) {
  Arena a(backend());
  MoeRouteParams p{.logits = a.Values(DType::kF32, {2, 4}, {0, 1, 2, 3, 3, 2, 1, 0}),
                   .correction_bias = {},
                   .expert_table = a.Ints({3, 2}, {9, 9, 0, 2, 3, 1}),
                   .token_ids = a.Ints({2}, {2, 1}),
                   .ids = a.Output(DType::kI32, {2, 2}),
                   .weights = a.Output(DType::kF32, {2, 2}),
                   .scoring = MoeScoring::kSigmoid,
                   .norm_topk_prob = true,
                   .routed_scaling = 2};
  ASSERT_EQ(backend()->MoeRoute(p), absl::OkStatus());
  EXPECT_EQ(a.Read(p.ids), (std::vector<double>{3, 1, 0, 2}));
  const double total = Sigmoid(3) + Sigmoid(1);
  for (int64_t row : {0, 2}) {
    EXPECT_NEAR(a.Read(p.weights)[row], 2 * Sigmoid(3) / total, 1e-5);
    EXPECT_NEAR(a.Read(p.weights)[row + 1], 2 * Sigmoid(1) / total, 1e-5);
  }
  p.method = MoeTopK::kNoauxTc;
  EXPECT_EQ(backend()->MoeRoute(p).message(), "moe_route: expert_table: only with method greedy");
}

TEST_P(MoeTest, NanLogitsStillGiveValidDistinctIds) {
  Routed r = Route(std::vector<float>(8, NAN), 3,
                   {.scoring = MoeScoring::kSigmoid, .method = MoeTopK::kNoauxTc, .n_group = 4, .topk_group = 2});
  std::sort(r.ids.begin(), r.ids.end());
  EXPECT_EQ(std::unique(r.ids.begin(), r.ids.end()), r.ids.end());
  EXPECT_GE(r.ids.front(), 0);
  EXPECT_LT(r.ids.back(), 8);
}

TEST_P(MoeTest, RoutingMatches) {
  struct Shape {
    int64_t experts, top_k, n_group, topk_group;
  };
  for (const Shape& s :
       {Shape{256, 8, 8, 4}, {160, 6, 8, 3}, {64, 6, 1, 1}, {8, 2, 4, 2}, {5, 5, 1, 1}, {1, 1, 1, 1}}) {
    for (MoeTopK method : {MoeTopK::kGreedy, MoeTopK::kGroupLimitedGreedy, MoeTopK::kNoauxTc}) {
      for (MoeScoring scoring : {MoeScoring::kSoftmax, MoeScoring::kSigmoid, MoeScoring::kSqrtSoftplus}) {
        for (int64_t tokens : {0, 1, 17}) {
          SCOPED_TRACE(absl::StrCat(s.experts, " experts, method ", static_cast<int>(method), ", tokens ", tokens));
          Compare<MoeRouteParams>(
              [&](Arena& a) {
                MoeRouteParams p{.logits = a.Random(DType::kF32, {tokens, s.experts}, 2.0f, 3),
                                 .correction_bias = {},
                                 .ids = a.Output(DType::kI32, {tokens, s.top_k}),
                                 .weights = a.Output(DType::kF32, {tokens, s.top_k}),
                                 .scoring = scoring,
                                 .method = method,
                                 .n_group = s.n_group,
                                 .topk_group = s.topk_group,
                                 .norm_topk_prob = method == MoeTopK::kNoauxTc,
                                 .routed_scaling = 2.5f};
                if (method == MoeTopK::kNoauxTc) p.correction_bias = a.Random(DType::kF32, {s.experts}, 0.3f);
                return p;
              },
              &Backend::MoeRoute, {1e-6f, 1e-5f});
        }
      }
    }
  }
}

// The router's product and the choice as one op: sizes of V2-Lite and V3, and rows beyond a step that decodes. Rows of
// x are unit vectors, so that logits are the weights and no choice hangs on the order of additions.
TEST_P(MoeTest, GateIsTheProductAndTheChoice) {
  struct Shape {
    int64_t experts, top_k, n_group, topk_group, hidden;
    MoeScoring scoring;
    MoeTopK method;
  };
  for (const Shape& s : {Shape{64, 6, 1, 1, 2048, MoeScoring::kSoftmax, MoeTopK::kGreedy},
                         Shape{160, 6, 8, 3, 520, MoeScoring::kSoftmax, MoeTopK::kGroupLimitedGreedy},
                         Shape{256, 8, 8, 4, 1032, MoeScoring::kSigmoid, MoeTopK::kNoauxTc},
                         Shape{5, 2, 1, 1, 33, MoeScoring::kSqrtSoftplus, MoeTopK::kGreedy}}) {
    for (DType dtype : {DType::kBF16, DType::kF32}) {
      for (int64_t tokens : {0, 1, 3, 8, 9}) {
        SCOPED_TRACE(absl::StrCat(s.experts, " experts, ", DTypeName(dtype), ", tokens ", tokens));
        Compare<MoeGateParams>(
            [&](Arena& a) {
              std::vector<float> x(tokens * s.hidden);
              for (int64_t t = 0; t < tokens; ++t) x[t * s.hidden + (t * 7 + 3) % s.hidden] = 1;
              const TensorView logits = a.Output(DType::kF32, {tokens, s.experts});
              MoeGateParams p;
              p.gate = {.x = a.Values(dtype, {tokens, s.hidden}, x),
                        .w = WeightView::Plain(a.Random(dtype, {s.experts, s.hidden}, 2.0f)),
                        .bias = {},
                        .out = logits};
              p.route = {.logits = logits,
                         .correction_bias = {},
                         .ids = a.Output(DType::kI32, {tokens, s.top_k}),
                         .weights = a.Output(DType::kF32, {tokens, s.top_k}),
                         .scoring = s.scoring,
                         .method = s.method,
                         .n_group = s.n_group,
                         .topk_group = s.topk_group,
                         .norm_topk_prob = s.method == MoeTopK::kNoauxTc,
                         .routed_scaling = 2.5f};
              if (s.method == MoeTopK::kNoauxTc) p.route.correction_bias = a.Random(DType::kF32, {s.experts}, 0.3f);
              return p;
            },
            &Backend::MoeGate, {1e-6f, 1e-5f});
      }
    }
  }
}

TEST_P(MoeTest, GateRefusesLogitsThatAreNotItsProduct) {
  Arena a(backend());
  MoeGateParams p;
  p.gate = {.x = a.Random(DType::kF32, {2, 8}),
            .w = WeightView::Plain(a.Random(DType::kF32, {4, 8})),
            .bias = {},
            .out = a.Output(DType::kF32, {2, 4})};
  p.route = {.logits = a.Random(DType::kF32, {2, 4}),
             .correction_bias = {},
             .ids = a.Output(DType::kI32, {2, 2}),
             .weights = a.Output(DType::kF32, {2, 2})};
  EXPECT_EQ(backend()->MoeGate(p).message(), "moe_gate: gate.out: expected route.logits f32 [2, 4], found f32 [2, 4]");
  p.route.logits = p.gate.out;
  p.gate.accumulate = true;
  EXPECT_EQ(backend()->MoeGate(p).message(), "moe_gate: gate.accumulate: expected false");
}

std::vector<int32_t> RandomIds(int64_t tokens, int64_t top_k, int64_t experts) {
  std::mt19937 random(3);
  std::vector<int32_t> ids, all(experts);
  std::iota(all.begin(), all.end(), 0);
  for (int64_t t = 0; t < tokens; ++t) {
    std::shuffle(all.begin(), all.end(), random);
    ids.insert(ids.end(), all.begin(), all.begin() + top_k);
  }
  return ids;
}

TEST_P(MoeTest, PermuteSortsByExpertThenToken) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t tokens : {0, 1, 23}) {
      Compare<MoePermuteParams>(
          [&](Arena& a) {
            return MoePermuteParams{.ids = a.Ints({tokens, 3}, RandomIds(tokens, 3, 7)),
                                    .x = a.Random(dtype, {tokens, 21}, 1.0f, 2),
                                    .x_sorted = a.Output(dtype, {tokens * 3, 21}, 1),
                                    .row_of = a.Output(DType::kI32, {tokens, 3}),
                                    .expert_start = a.Output(DType::kI32, {8})};
          },
          &Backend::MoePermute, {});
    }
  }
}

// As many experts as V3 has, most of them without a row; and rows that can be copied sixteen bytes at once.
TEST_P(MoeTest, PermuteOfFewAndOfManyPairs) {
  for (int64_t tokens : {1, 3, 128, 129}) {
    Compare<MoePermuteParams>(
        [&](Arena& a) {
          return MoePermuteParams{.ids = a.Ints({tokens, 8}, RandomIds(tokens, 8, 256)),
                                  .x = a.Random(DType::kBF16, {tokens, 72}),
                                  .x_sorted = a.Output(DType::kBF16, {tokens * 8, 72}),
                                  .row_of = a.Output(DType::kI32, {tokens, 8}),
                                  .expert_start = a.Output(DType::kI32, {257})};
        },
        &Backend::MoePermute, {});
  }
}

TEST_P(MoeTest, UnpermuteSumsWeightedRowsAndTheAddend) {
  for (DType dtype : kComputeDTypes) {
    for (bool with_addend : {false, true}) {
      const float ulp = dtype == DType::kBF16 ? 0x1p-7f : dtype == DType::kF16 ? 0x1p-10f : 1e-5f;
      Compare<MoeUnpermuteParams>(
          [&](Arena& a) {
            std::vector<int32_t> rows(5 * 4);
            std::iota(rows.begin(), rows.end(), 0);
            std::shuffle(rows.begin(), rows.end(), std::mt19937(11));
            MoeUnpermuteParams p{.y_sorted = a.Random(dtype, {20, 37}, 1.0f, 1),
                                 .row_of = a.Ints({5, 4}, rows),
                                 .weights = a.Random(DType::kF32, {5, 4}),
                                 .addend = {},
                                 .out = a.Output(dtype, {5, 37}, 2)};
            if (with_addend) p.addend = a.Random(dtype, {5, 37});
            return p;
          },
          &Backend::MoeUnpermute, {1e-5f, ulp});
    }
  }
}

TEST_P(MoeTest, UnpermuteOfWideRows) {
  Compare<MoeUnpermuteParams>(
      [&](Arena& a) {
        return MoeUnpermuteParams{.y_sorted = a.Random(DType::kBF16, {4, 1500}),
                                  .row_of = a.Ints({2, 2}, {3, 0, 1, 2}),
                                  .weights = a.Random(DType::kF32, {2, 2}),
                                  .addend = {},
                                  .out = a.Output(DType::kBF16, {2, 1500})};
      },
      &Backend::MoeUnpermute, {1e-5f, 0x1p-7f});
}

TEST_P(MoeTest, RefusesTopKBeyondTheKeptGroups) {
  Arena a(backend());
  const absl::Status status = backend()->MoeRoute({.logits = a.Random(DType::kF32, {1, 8}),
                                                   .correction_bias = {},
                                                   .ids = a.Output(DType::kI32, {1, 5}),
                                                   .weights = a.Output(DType::kF32, {1, 5}),
                                                   .method = MoeTopK::kNoauxTc,
                                                   .n_group = 4,
                                                   .topk_group = 2});
  EXPECT_EQ(status.message(), "moe_route: expected top_k of at most 4 eligible experts, found 5");
}

}  // namespace
}  // namespace hadal::kernels
