// SPDX-License-Identifier: Apache-2.0
//
// hybrid_attention: worked examples, and every backend against the reference.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/kernels/attention_cases.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

enum class Entries { kNone, kAll, kSelected };

class HybridAttentionTest : public OpTest {
 protected:
  struct Shape {
    int64_t heads, dim, window, ratio, selected;
  };

  static HybridAttentionParams Build(Arena& a, const Batch& batch, const Shape& s, DType q, DType cache, Entries kind) {
    constexpr int64_t kBlockTokens = 24;
    const int64_t blocks = BlocksFor(batch, kBlockTokens);
    int64_t tokens = 0;
    for (int32_t count : batch.queries) tokens += count;
    HybridAttentionParams p{.q = a.Random(q, {tokens, s.heads, s.dim}, 1.0f, 2),
                            .window = a.Random(cache, {blocks, kBlockTokens, s.dim}, 1.0f, 3),
                            .entries = {},
                            .selected = {},
                            .sink = a.Random(DType::kF32, {s.heads}),
                            .out = a.Output(q, {tokens, s.heads, s.dim}, 1),
                            .window_batch = a.Ragged(batch.queries, batch.contexts, kBlockTokens, blocks),
                            .batch = {},
                            .window_tokens = s.window,
                            .tokens_per_entry = s.ratio,
                            .scale = 1.0f / std::sqrt(static_cast<float>(s.dim))};
    if (kind == Entries::kNone) return p;
    p.entries = a.Random(cache, {blocks, kBlockTokens / s.ratio, s.dim});
    p.batch = a.Ragged(batch.queries, batch.contexts, kBlockTokens, blocks);
    if (kind == Entries::kSelected) p.selected = Select(a, batch, s, tokens);
    return p;
  }

  // Every third visible entry from the newest back, -1 where there are not enough.
  static TensorView Select(Arena& a, const Batch& batch, const Shape& s, int64_t tokens) {
    std::vector<int32_t> selected;
    for (size_t i = 0; i < batch.queries.size(); ++i) {
      for (int32_t t = batch.contexts[i] - batch.queries[i]; t < batch.contexts[i]; ++t) {
        int32_t next = (t + 1) / static_cast<int32_t>(s.ratio) - 1;
        for (int64_t k = 0; k < s.selected; ++k, next -= 3) selected.push_back(std::max(next, -1));
      }
    }
    return a.Ints({tokens, s.selected}, selected);
  }
};
HADAL_INSTANTIATE_OP_TEST(HybridAttentionTest);

// All scores are 0 and so is the sink: the mean over what is seen and one more, which has no value.
TEST_P(HybridAttentionTest, SeesTheWindowTheEntriesAndTheSink) {
  Arena a(backend());
  // 6 tokens in blocks of 4, a window of 3: the last two queries see positions 2..4 and 3..5. The column that lies
  // wholly before the window names a block of NaN.
  HybridAttentionParams p{
      .q = a.Values(DType::kF32, {2, 1, 1}, {0, 0}),
      .window = a.Values(DType::kF32, {3, 4, 1}, {NAN, NAN, 4, 8, 16, 32, NAN, NAN, NAN, NAN, NAN, NAN}),
      .entries = {},
      .selected = {},
      .sink = a.Values(DType::kF32, {1}, {0}),
      .out = a.Output(DType::kF32, {2, 1, 1}),
      .window_batch = a.Ragged({2}, {6}, 4, 3),
      .batch = {},
      .window_tokens = 3};
  p.window_batch.block_tables = a.Ints({1, 2}, {0, 1});
  ASSERT_EQ(backend()->HybridAttention(p), absl::OkStatus());
  EXPECT_NEAR(a.Read(p.out)[0], (4 + 8 + 16) / 4.0, 1e-5);
  EXPECT_NEAR(a.Read(p.out)[1], (8 + 16 + 32) / 4.0, 1e-5);

  // Entries of 2 tokens: the query at position 4 sees two, the one at 5 sees three.
  p.entries = a.Values(DType::kF32, {2, 2, 1}, {512, NAN, 128, 256});
  p.batch = p.window_batch;
  p.batch.block_tables = a.Ints({1, 2}, {1, 0});
  p.tokens_per_entry = 2;
  ASSERT_EQ(backend()->HybridAttention(p), absl::OkStatus());
  EXPECT_NEAR(a.Read(p.out)[0], (28 + 128 + 256) / 6.0, 1e-4);
  EXPECT_NEAR(a.Read(p.out)[1], (56 + 128 + 256 + 512) / 7.0, 1e-4);

  p.selected = a.Ints({2, 2}, {1, -1, 0, 2});
  ASSERT_EQ(backend()->HybridAttention(p), absl::OkStatus());
  EXPECT_NEAR(a.Read(p.out)[0], (28 + 256) / 5.0, 1e-4);
  EXPECT_NEAR(a.Read(p.out)[1], (56 + 128 + 512) / 6.0, 1e-4);
}

TEST_P(HybridAttentionTest, ALargeSinkTakesTheWeightAway) {
  Arena a(backend());
  const HybridAttentionParams p{.q = a.Values(DType::kF32, {1, 2, 1}, {0, 0}),
                                .window = a.Values(DType::kF32, {1, 1, 1}, {1}),
                                .entries = {},
                                .selected = {},
                                .sink = a.Values(DType::kF32, {2}, {-200, std::log(3.0f)}),
                                .out = a.Output(DType::kF32, {1, 2, 1}),
                                .window_batch = a.Ragged({1}, {1}, 1, 1),
                                .batch = {}};
  ASSERT_EQ(backend()->HybridAttention(p), absl::OkStatus());
  EXPECT_NEAR(a.Read(p.out)[0], 1, 1e-6);
  EXPECT_NEAR(a.Read(p.out)[1], 0.25, 1e-6);
}

TEST_P(HybridAttentionTest, Matches) {
  for (const Batch& batch : Batches()) {
    for (Entries kind : {Entries::kNone, Entries::kAll, Entries::kSelected}) {
      for (DType dtype : kComputeDTypes) {
        for (const Shape& s : {Shape{5, 24, 7, 4, 3}, {64, 40, 128, 8, 9}, {1, 129, 1, 24, 70}}) {
          SCOPED_TRACE(absl::StrCat(batch.name, ", entries ", static_cast<int>(kind), ", ", DTypeName(dtype),
                                    ", heads ", s.heads));
          Compare<HybridAttentionParams>([&](Arena& a) { return Build(a, batch, s, dtype, dtype, kind); },
                                         &Backend::HybridAttention, ValueTolerance(dtype));
        }
      }
    }
  }
}

TEST_P(HybridAttentionTest, CacheMayHaveAnotherType) {
  Compare<HybridAttentionParams>(
      [&](Arena& a) {
        return Build(a, Batches()[5], {3, 20, 9, 4, 5}, DType::kF32, DType::kBF16, Entries::kSelected);
      },
      &Backend::HybridAttention, ValueTolerance(DType::kF32));
}

TEST_P(HybridAttentionTest, RefusesBatchesThatDisagree) {
  Arena a(backend());
  HybridAttentionParams p = Build(a, Batches()[3], {2, 8, 7, 4, 3}, DType::kF32, DType::kF32, Entries::kAll);
  p.batch = a.Ragged({37}, {38}, 24, 4);
  EXPECT_EQ(backend()->HybridAttention(p).message(),
            "hybrid_attention: batch and window_batch describe different queries");
  p = Build(a, Batches()[3], {2, 8, 7, 4, 3}, DType::kF32, DType::kF32, Entries::kSelected);
  p.entries = {};
  EXPECT_EQ(backend()->HybridAttention(p).message(), "hybrid_attention: selected: only with entries");
}

}  // namespace
}  // namespace hadal::kernels
