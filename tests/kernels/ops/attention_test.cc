// SPDX-License-Identifier: Apache-2.0
//
// paged_attention, mla_attention, mla_gather and mla_prefill: every backend against the reference, the reference
// against a naive softmax in double precision, and the absorbed form against the naive one.
#include "absl/strings/str_cat.h"
#include "tests/kernels/attention_cases.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

class AttentionTest : public OpTest {};
HADAL_INSTANTIATE_OP_TEST(AttentionTest);

PagedAttentionParams BuildPaged(Arena& a, const Batch& batch, DType q, DType cache, int64_t heads, int64_t kv_heads,
                                int64_t head_dim, int64_t v_dim) {
  const int64_t block_tokens = 16, blocks = BlocksFor(batch, block_tokens);
  int64_t tokens = 0;
  for (int32_t count : batch.queries) tokens += count;
  return {.q = a.Random(q, {tokens, heads, head_dim}, 1.0f, 2),
          .k_cache = a.Random(cache, {blocks, block_tokens, kv_heads, head_dim}),
          .v_cache = a.Random(cache, {blocks, block_tokens, kv_heads, v_dim}),
          .out = a.Output(q, {tokens, heads, v_dim}, 1),
          .batch = a.Ragged(batch.queries, batch.contexts, block_tokens, blocks),
          .scale = 1.0f / std::sqrt(static_cast<float>(head_dim))};
}

TEST_P(AttentionTest, PagedMatches) {
  for (const Batch& batch : Batches()) {
    for (DType dtype : kComputeDTypes) {
      SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype)));
      Compare<PagedAttentionParams>([&](Arena& a) { return BuildPaged(a, batch, dtype, dtype, 6, 2, 32, 32); },
                                    &Backend::PagedAttention, ValueTolerance(dtype));
    }
  }
}

TEST_P(AttentionTest, PagedMatchesForOddHeads) {
  for (const auto& [heads, kv_heads, head_dim, v_dim] : std::vector<std::array<int64_t, 4>>{
           {1, 1, 1, 1}, {5, 5, 7, 3}, {14, 2, 64, 64}, {12, 1, 80, 33}, {2, 2, 128, 128}}) {
    SCOPED_TRACE(absl::StrCat("heads ", heads, "/", kv_heads, " dims ", head_dim, ", ", v_dim));
    const Batch batch{"", {1, 21}, {90, 40}};
    Compare<PagedAttentionParams>(
        [&](Arena& a) { return BuildPaged(a, batch, DType::kF32, DType::kF32, heads, kv_heads, head_dim, v_dim); },
        &Backend::PagedAttention, ValueTolerance(DType::kF32));
    Compare<PagedAttentionParams>(
        [&](Arena& a) { return BuildPaged(a, batch, DType::kF32, DType::kBF16, heads, kv_heads, head_dim, v_dim); },
        &Backend::PagedAttention, ValueTolerance(DType::kBF16));
  }
}

TEST_P(AttentionTest, PagedKeepsLargeScoresFinite) {
  Compare<PagedAttentionParams>(
      [&](Arena& a) {
        PagedAttentionParams p = BuildPaged(a, {"", {1, 30}, {700, 30}}, DType::kF32, DType::kF32, 4, 2, 32, 16);
        p.scale = 40.0f;  // scores of some hundreds: exp overflows unless the maximum is subtracted
        return p;
      },
      &Backend::PagedAttention, {2e-3f, 1e-3f});
}

TEST_P(AttentionTest, PagedHidesLaterNan) {
  // The keys of the last token are NaN: only that token may see it.
  Arena a(backend());
  const int64_t tokens = 20;
  std::vector<float> k(2 * 16 * 8, 0.25f), v(2 * 16 * 8, 2.0f);
  RaggedBatch batch = a.Ragged({20}, {20}, 16, 2);
  const std::vector<double> table = a.Read(batch.block_tables);
  for (int d = 0; d < 8; ++d) v[static_cast<size_t>(table[1] * 16 + 3) * 8 + d] = NAN;
  const TensorView out = a.Output(DType::kF32, {tokens, 1, 8});
  ASSERT_EQ(backend()->PagedAttention({.q = a.Random(DType::kF32, {tokens, 1, 8}),
                                       .k_cache = a.Values(DType::kF32, {2, 16, 1, 8}, k),
                                       .v_cache = a.Values(DType::kF32, {2, 16, 1, 8}, v),
                                       .out = out,
                                       .batch = batch}),
            absl::OkStatus());
  const std::vector<double> values = a.Read(out);
  for (int64_t i = 0; i < (tokens - 1) * 8; ++i) EXPECT_NEAR(values[i], 2.0, 1e-5);
  for (int64_t i = (tokens - 1) * 8; i < tokens * 8; ++i) EXPECT_TRUE(std::isnan(values[i]));
}

TEST_P(AttentionTest, PagedAgreesWithANaiveSoftmax) {
  Arena a(backend());
  const int64_t context = 45, dim = 24, queries = 7;
  PagedAttentionParams p{.q = a.Random(DType::kF32, {queries, 2, dim}),
                         .k_cache = a.Random(DType::kF32, {4, 16, 1, dim}),
                         .v_cache = a.Random(DType::kF32, {4, 16, 1, dim}),
                         .out = a.Output(DType::kF32, {queries, 2, dim}),
                         .batch = a.Ragged({7}, {45}, 16, 4),
                         .scale = 0.3f};
  ASSERT_EQ(backend()->PagedAttention(p), absl::OkStatus());
  const auto q = a.Read(p.q), k = a.Read(p.k_cache), v = a.Read(p.v_cache), out = a.Read(p.out);
  const auto table = a.Read(p.batch.block_tables);
  for (int64_t t = 0; t < queries; ++t) {
    for (int64_t h = 0; h < 2; ++h) {
      const int64_t visible = context - queries + t + 1;
      std::vector<double> weights;
      double total = 0;
      const auto row = [&](int64_t j) { return (static_cast<int64_t>(table[j / 16]) * 16 + j % 16) * dim; };
      for (int64_t j = 0; j < visible; ++j) {
        double score = 0;
        for (int64_t d = 0; d < dim; ++d) score += q[(t * 2 + h) * dim + d] * k[row(j) + d];
        weights.push_back(std::exp(score * 0.3));
        total += weights.back();
      }
      for (int64_t d = 0; d < dim; ++d) {
        double sum = 0;
        for (int64_t j = 0; j < visible; ++j) sum += weights[j] / total * v[row(j) + d];
        EXPECT_NEAR(out[(t * 2 + h) * dim + d], sum, 2e-5);
      }
    }
  }
}

TEST_P(AttentionTest, MlaMatches) {
  for (const Batch& batch : Batches()) {
    for (DType dtype : kComputeDTypes) {
      for (int64_t heads : {1, 4, 37}) {
        SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype), " heads ", heads));
        int64_t tokens = 0;
        for (int32_t count : batch.queries) tokens += count;
        if (tokens * heads > 300) continue;  // keeps the reference fast
        const int64_t blocks = BlocksFor(batch, 16);
        Compare<MlaAttentionParams>(
            [&](Arena& a) {
              return MlaAttentionParams{.q_lat = a.Random(dtype, {tokens, heads, 40}, 1.0f, 3),
                                        .q_pe = a.Random(dtype, {tokens, heads, 8}),
                                        .cache = a.Random(dtype, {blocks, 16, 48}),
                                        .o_lat = a.Output(dtype, {tokens, heads, 40}, 1),
                                        .batch = a.Ragged(batch.queries, batch.contexts, 16, blocks),
                                        .scale = 0.2f};
            },
            &Backend::MlaAttention, ValueTolerance(dtype));
      }
    }
  }
}

TEST_P(AttentionTest, MlaMatchesAtFullWidth) {
  Compare<MlaAttentionParams>(
      [&](Arena& a) {
        return MlaAttentionParams{.q_lat = a.Random(DType::kBF16, {2, 16, 512}),
                                  .q_pe = a.Random(DType::kBF16, {2, 16, 64}),
                                  .cache = a.Random(DType::kBF16, {8, 64, 576}),
                                  .o_lat = a.Output(DType::kBF16, {2, 16, 512}),
                                  .batch = a.Ragged({1, 1}, {100, 301}, 64, 8),
                                  .scale = 0.05f};
      },
      &Backend::MlaAttention, ValueTolerance(DType::kBF16));
}

TEST_P(AttentionTest, MlaGatherCollectsRowsInOrder) {
  for (DType from : kComputeDTypes) {
    for (DType to : kComputeDTypes) {
      Compare<MlaGatherParams>(
          [&](Arena& a) {
            return MlaGatherParams{.cache = a.Random(from, {20, 4, 11}),
                                   .kv_start = a.Ints({4}, {0, 7, 7, 40}),
                                   .latent = a.Output(to, {40, 11}, 2),
                                   .batch = a.Ragged({2, 0, 1}, {7, 0, 33}, 4, 20)};
          },
          &Backend::MlaGather, {});
    }
  }
}

TEST_P(AttentionTest, MlaPrefillMatches) {
  for (DType dtype : kComputeDTypes) {
    for (int64_t heads : {1, 3}) {
      SCOPED_TRACE(DTypeName(dtype));
      Compare<MlaPrefillParams>(
          [&](Arena& a) {
            const TensorView kv =
                a.Random(dtype, {193, heads, 24 + 17});  // keys and values side by side, as kv_b_proj gives
            const TensorView q = a.Random(dtype, {72, heads, 24 + 9});
            return MlaPrefillParams{.q_nope = q.Slice(2, 0, 24),
                                    .q_pe = q.Slice(2, 24, 9),
                                    .k_nope = kv.Slice(2, 0, 24),
                                    .k_pe = a.Random(dtype, {193, 9}, 1.0f, 1),
                                    .v = kv.Slice(2, 24, 17),
                                    .kv_start = a.Ints({4}, {0, 100, 130, 193}),
                                    .out = a.Output(dtype, {72, heads, 17}, 1),
                                    .batch = a.Ragged({70, 0, 2}, {100, 30, 63}, 16, 16),
                                    .scale = 0.2f};
          },
          &Backend::MlaPrefill, ValueTolerance(dtype));
    }
  }
}

TEST_P(AttentionTest, AbsorbedAndNaiveFormsAgree) {
  // With W_UK, W_UV per head: q_lat = q_nope W_UK, k_nope = W_UK c, v = W_UV c; both forms give the same output.
  Backend& b = *backend();
  Arena a(&b);
  const int64_t heads = 2, n = 12, r = 6, c = 20, vd = 10, context = 33, queries = 5;
  const TensorView q_nope = a.Random(DType::kF32, {queries, heads, n}),
                   q_pe = a.Random(DType::kF32, {queries, heads, r});
  const WeightView kv_b = WeightView::Plain(a.Random(DType::kF32, {heads * (n + vd), c}, 0.3f));
  const WeightView w = kv_b.SplitRows(heads);
  const TensorView cache = a.Random(DType::kF32, {5, 8, c + r});
  const RaggedBatch batch = a.Ragged({5}, {33}, 8, 5);
  const TensorView kv_start = a.Ints({2}, {0, 33});
  const TensorView q_lat = a.Output(DType::kF32, {queries, heads, c}),
                   o_lat = a.Output(DType::kF32, {queries, heads, c});
  const TensorView absorbed = a.Output(DType::kF32, {queries, heads, vd});
  ASSERT_EQ(b.BatchedGemm({.x = q_nope, .w = w.Rows(0, n), .out = q_lat, .transpose_w = true}), absl::OkStatus());
  ASSERT_EQ(b.MlaAttention({q_lat, q_pe, cache, o_lat, batch, 0.4f}), absl::OkStatus());
  ASSERT_EQ(b.BatchedGemm({.x = o_lat, .w = w.Rows(n, vd), .out = absorbed}), absl::OkStatus());

  const TensorView latent = a.Output(DType::kF32, {context, c + r}),
                   kv = a.Output(DType::kF32, {context, heads * (n + vd)});
  const TensorView naive = a.Output(DType::kF32, {queries, heads, vd});
  ASSERT_EQ(b.MlaGather({cache, kv_start, latent, batch}), absl::OkStatus());
  ASSERT_EQ(b.Gemm({.x = latent.Slice(1, 0, c), .w = kv_b, .bias = {}, .out = kv}), absl::OkStatus());
  const TensorView split = kv.SplitLast(n + vd);
  ASSERT_EQ(b.MlaPrefill({q_nope, q_pe, split.Slice(2, 0, n), latent.Slice(1, c, r), split.Slice(2, n, vd), kv_start,
                          naive, batch, 0.4f}),
            absl::OkStatus());
  const auto left = a.Read(absorbed), right = a.Read(naive);
  for (size_t i = 0; i < left.size(); ++i) EXPECT_NEAR(left[i], right[i], 1e-4);
}

TEST_P(AttentionTest, RefusesAContextShorterThanItsQueries) {
  Arena a(backend());
  PagedAttentionParams p = BuildPaged(a, {"", {3}, {4}}, DType::kF32, DType::kF32, 2, 2, 8, 8);
  const std::vector<int32_t> two = {2};
  p.batch.host_context_lens = two;
  EXPECT_EQ(backend()->PagedAttention(p).message(),
            "paged_attention: sequence 0: context of 2 tokens is shorter than its 3 queries");
}

}  // namespace
}  // namespace hadal::kernels
