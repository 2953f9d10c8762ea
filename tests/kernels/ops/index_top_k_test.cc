// SPDX-License-Identifier: Apache-2.0
//
// index_top_k and mla_attention over listed positions: what the rules say on small numbers, then every backend against
// the reference.
#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class IndexTopKTest : public OpTest {};
HADAL_INSTANTIATE_OP_TEST(IndexTopKTest);

// One sequence whose keys are given by entry, one head of width 1 with query 1 and weight 1: the score is relu(key).
struct OneHead {
  OneHead(Arena& arena, const std::vector<float>& keys, int32_t queries, int32_t context, int64_t top_k,
          int64_t tokens_per_entry = 1, float weight = 1.0f)
      : a(arena) {
    const int64_t entries = 4, blocks = (static_cast<int64_t>(keys.size()) + entries - 1) / entries + 2;
    p.batch = a.Ragged({queries}, {context}, entries * tokens_per_entry, blocks);
    const std::vector<double> table = a.Read(p.batch.block_tables);
    std::vector<float> cache(blocks * entries, 99.0f);  // what nobody may choose
    for (size_t j = 0; j < keys.size() && j / entries < table.size(); ++j) {
      cache[static_cast<size_t>(table[j / entries]) * entries + j % entries] = keys[j];
    }
    p.q = a.Values(DType::kF32, {queries, 1, 1}, std::vector<float>(queries, 1.0f));
    p.weights = a.Values(DType::kF32, {queries, 1}, std::vector<float>(queries, weight));
    p.keys = a.Values(DType::kF32, {blocks, entries, 1}, cache);
    p.selected = a.Output(DType::kI32, {queries, top_k});
    p.tokens_per_entry = tokens_per_entry;
  }
  std::vector<double> Run(Backend& backend) {
    EXPECT_EQ(backend.IndexTopK(p), absl::OkStatus());
    return a.Read(p.selected);
  }
  Arena& a;
  IndexTopKParams p;
};

TEST_P(IndexTopKTest, TakesTheBestInOrder) {
  Arena a(backend());
  EXPECT_THAT(OneHead(a, {3, 9, 1, 7, 8, 2}, 1, 6, 3).Run(*backend()), ElementsAre(1, 3, 4));
}

TEST_P(IndexTopKTest, ListsEverythingWhenItIsFew) {
  Arena a(backend());
  EXPECT_THAT(OneHead(a, {3, 9, 1}, 1, 3, 3).Run(*backend()), ElementsAre(0, 1, 2));
  EXPECT_THAT(OneHead(a, {3, 9, 1}, 1, 3, 5).Run(*backend()), ElementsAre(0, 1, 2, -1, -1));
}

TEST_P(IndexTopKTest, EachQuerySeesNothingBehindItself) {
  Arena a(backend());
  // Later keys are better: a query that saw them would take them.
  EXPECT_THAT(OneHead(a, {1, 2, 3, 4, 5}, 4, 5, 2).Run(*backend()), ElementsAre(0, 1, 1, 2, 2, 3, 3, 4));
}

TEST_P(IndexTopKTest, TiesGoToTheLowerEntry) {
  Arena a(backend());
  EXPECT_THAT(OneHead(a, {5, 5, 7, 5, 5, 7}, 1, 6, 4).Run(*backend()), ElementsAre(0, 1, 2, 5));
  // relu makes every negative product the same zero, whatever the sign of the weight.
  EXPECT_THAT(OneHead(a, {-1, -2, 6, -3, -4}, 1, 5, 2).Run(*backend()), ElementsAre(0, 2));
  EXPECT_THAT(OneHead(a, {-1, -2, 6, -3, -4}, 1, 5, 2, 1, -1.0f).Run(*backend()), ElementsAre(0, 1));
}

TEST_P(IndexTopKTest, NanIsTheWorstScore) {
  Arena a(backend());
  EXPECT_THAT(OneHead(a, {1, 2, 3}, 1, 3, 2, 1, NAN).Run(*backend()), ElementsAre(0, 1));
  // relu(NaN) is 0, so the others are taken; the entry itself comes before nothing else.
  EXPECT_THAT(OneHead(a, {1, NAN, 3, 2}, 1, 4, 3).Run(*backend()), ElementsAre(0, 2, 3));
}

TEST_P(IndexTopKTest, AnEntryOfFourTokensIsSeenWhenItsLastTokenIs) {
  Arena a(backend());
  // Positions 9..13 see (p + 1) / 4 = 2, 2, 3, 3, 3 entries.
  EXPECT_THAT(OneHead(a, {1, 2, 3}, 5, 14, 2, 4).Run(*backend()), ElementsAre(0, 1, 0, 1, 1, 2, 1, 2, 1, 2));
  EXPECT_THAT(OneHead(a, {1}, 4, 4, 2, 4).Run(*backend()), ElementsAre(-1, -1, -1, -1, -1, -1, 0, -1));
}

TEST_P(IndexTopKTest, WeightsMayBeNegativeAndHeadsAreSummed) {
  Arena a(backend());
  IndexTopKParams p;
  p.q = a.Values(DType::kF32, {1, 2, 2}, {1, 0, 0, 1});
  p.weights = a.Values(DType::kF32, {1, 2}, {2, -1});
  // Scores: 2 relu(x) - relu(y).
  p.keys = a.Values(DType::kF32, {1, 4, 2}, {1, 5, 1, -9, -3, 0, 2, 3});  // -3, 2, 0, 1
  p.selected = a.Output(DType::kI32, {1, 2});
  p.batch = a.Ragged({1}, {4}, 4, 1);
  ASSERT_EQ(backend()->IndexTopK(p), absl::OkStatus());
  EXPECT_THAT(a.Read(p.selected), ElementsAre(1, 3));
}

struct Batch {
  const char* name;
  std::vector<int32_t> queries, contexts;
};

const std::vector<Batch>& Batches() {
  static const std::vector<Batch> batches = {
      {"nothing", {}, {}},          {"decode", {1, 1, 1}, {5, 64, 131}},
      {"prefill", {37}, {37}},      {"mixed, one sequence idle", {1, 0, 23, 1, 3}, {70, 9, 23, 1, 66}},
      {"long decode", {1}, {2500}}, {"long chunk", {70}, {300}},
  };
  return batches;
}

int64_t BlocksFor(const Batch& batch, int64_t block_tokens) {
  int64_t blocks = 2;
  for (int32_t context : batch.contexts) blocks += (context + block_tokens - 1) / block_tokens;
  return blocks;
}

int64_t TokensOf(const Batch& batch) { return std::accumulate(batch.queries.begin(), batch.queries.end(), int64_t{0}); }

TEST_P(IndexTopKTest, Matches) {
  for (const Batch& batch : Batches()) {
    for (DType dtype : kComputeDTypes) {
      for (const auto& [heads, dim, top_k, ratio] :
           std::vector<std::array<int64_t, 4>>{{5, 24, 9, 1}, {1, 7, 33, 1}, {11, 16, 6, 4}}) {
        SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype), " heads ", heads, " ratio ", ratio));
        const int64_t tokens = TokensOf(batch), blocks = BlocksFor(batch, 4 * ratio);
        Compare<IndexTopKParams>(
            [&](Arena& a) {
              return IndexTopKParams{.q = a.Random(dtype, {tokens, heads, dim}, 1.0f, 3),
                                     .weights = a.Random(DType::kF32, {tokens, heads}, 1.0f, 2),
                                     .keys = a.Random(dtype, {blocks, 4, dim}, 1.0f, 1),
                                     .selected = a.Output(DType::kI32, {tokens, top_k}, 1),
                                     .batch = a.Ragged(batch.queries, batch.contexts, 4 * ratio, blocks),
                                     .tokens_per_entry = ratio};
            },
            &Backend::IndexTopK, {});
      }
    }
  }
}

TEST_P(IndexTopKTest, MatchesAtFullWidth) {
  Compare<IndexTopKParams>(
      [&](Arena& a) {
        return IndexTopKParams{.q = a.Random(DType::kBF16, {19, 64, 128}),
                               .weights = a.Random(DType::kF32, {19, 64}),
                               .keys = a.Random(DType::kBF16, {6, 64, 128}),
                               .selected = a.Output(DType::kI32, {19, 40}),
                               .batch = a.Ragged({18, 1}, {90, 200}, 64, 6)};
      },
      &Backend::IndexTopK, {});
}

TEST_P(IndexTopKTest, ManyTilesTakeTurns) {
  // More scores than are kept at a time.
  Compare<IndexTopKParams>(
      [&](Arena& a) {
        return IndexTopKParams{.q = a.Random(DType::kF32, {300, 1, 2}),
                               .weights = a.Random(DType::kF32, {300, 1}),
                               .keys = a.Random(DType::kF32, {260, 64, 2}),
                               .selected = a.Output(DType::kI32, {300, 3}),
                               .batch = a.Ragged({300}, {16500}, 64, 260)};
      },
      &Backend::IndexTopK, {});
}

TEST_P(IndexTopKTest, RefusesWhatDoesNotFit) {
  Arena a(backend());
  IndexTopKParams p{.q = a.Random(DType::kF32, {2, 3, 4}),
                    .weights = a.Random(DType::kF32, {2, 3}),
                    .keys = a.Random(DType::kF32, {4, 4, 4}),
                    .selected = a.Output(DType::kI32, {2, 2}),
                    .batch = a.Ragged({2}, {9}, 4, 4)};
  const auto message = [&](IndexTopKParams changed) { return std::string(backend()->IndexTopK(changed).message()); };
  ASSERT_EQ(message(p), "");
  IndexTopKParams bad = p;
  bad.weights = a.Random(DType::kF32, {2, 2});
  EXPECT_THAT(message(bad), HasSubstr("index_top_k: weights: expected [2, 3]"));
  bad = p;
  bad.keys = a.Random(DType::kF32, {4, 4, 5});
  EXPECT_THAT(message(bad), HasSubstr("index_top_k: keys"));
  bad = p;
  bad.selected = a.Output(DType::kF32, {2, 2});
  EXPECT_THAT(message(bad), HasSubstr("index_top_k: selected: expected i32"));
  bad = p;
  bad.selected = a.Output(DType::kI32, {2, 0});
  EXPECT_THAT(message(bad), HasSubstr("index_top_k: top_k"));
  bad = p;
  bad.tokens_per_entry = 0;
  EXPECT_THAT(message(bad), HasSubstr("index_top_k: tokens_per_entry"));
}

// Rising lists of up to `columns` positions, different for every query; the query's own is always among them.
std::vector<int32_t> Lists(const Batch& batch, int64_t columns) {
  std::vector<int32_t> lists;
  std::mt19937 random(11);
  for (size_t s = 0; s < batch.contexts.size(); ++s) {
    for (int32_t i = 0; i < batch.queries[s]; ++i) {
      const int32_t position = batch.contexts[s] - batch.queries[s] + i;
      std::vector<int32_t> list(position);
      std::iota(list.begin(), list.end(), 0);
      std::shuffle(list.begin(), list.end(), random);
      list.resize(std::min<size_t>(list.size(), random() % columns));
      list.push_back(position);
      std::sort(list.begin(), list.end());
      list.resize(columns, -1);
      lists.insert(lists.end(), list.begin(), list.end());
    }
  }
  return lists;
}

TEST_P(IndexTopKTest, MlaAttentionOverListsMatches) {
  for (const Batch& batch : Batches()) {
    for (DType dtype : kComputeDTypes) {
      for (int64_t heads : {1, 5, 37}) {
        for (int64_t columns : {4, 600}) {
          SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype), " heads ", heads, " columns ", columns));
          const int64_t tokens = TokensOf(batch), blocks = BlocksFor(batch, 16);
          if (tokens * heads > 200) continue;  // keeps the reference fast
          Compare<MlaAttentionParams>(
              [&](Arena& a) {
                return MlaAttentionParams{.q_lat = a.Random(dtype, {tokens, heads, 40}, 1.0f, 3),
                                          .q_pe = a.Random(dtype, {tokens, heads, 8}),
                                          .cache = a.Random(dtype, {blocks, 16, 48}),
                                          .o_lat = a.Output(dtype, {tokens, heads, 40}, 1),
                                          .batch = a.Ragged(batch.queries, batch.contexts, 16, blocks),
                                          .scale = 0.2f,
                                          .selected = a.Ints({tokens, columns}, Lists(batch, columns))};
              },
              &Backend::MlaAttention, dtype == DType::kF32 ? Tolerance{3e-5f, 1e-5f} : Tolerance{2e-2f, 1e-2f});
        }
      }
    }
  }
}

TEST_P(IndexTopKTest, MlaAttentionOverEverythingIsDense) {
  Arena a(backend());
  const RaggedBatch batch = a.Ragged({6}, {20}, 8, 5);
  std::vector<int32_t> all;
  for (int32_t position = 14; position < 20; ++position) {
    for (int32_t j = 0; j < 20; ++j) all.push_back(j <= position ? j : -1);
  }
  MlaAttentionParams p{.q_lat = a.Random(DType::kF32, {6, 3, 10}),
                       .q_pe = a.Random(DType::kF32, {6, 3, 4}),
                       .cache = a.Random(DType::kF32, {5, 8, 14}),
                       .o_lat = a.Output(DType::kF32, {6, 3, 10}),
                       .batch = batch,
                       .scale = 0.3f};
  ASSERT_EQ(backend()->MlaAttention(p), absl::OkStatus());
  const std::vector<double> dense = a.Read(p.o_lat);
  p.selected = a.Ints({6, 20}, all);
  ASSERT_EQ(backend()->MlaAttention(p), absl::OkStatus());
  const std::vector<double> listed = a.Read(p.o_lat);
  for (size_t i = 0; i < dense.size(); ++i) EXPECT_NEAR(listed[i], dense[i], 1e-5) << i;
  p.selected = a.Ints({5, 20}, std::vector<int32_t>(100, 0));
  EXPECT_THAT(std::string(backend()->MlaAttention(p).message()), HasSubstr("mla_attention: selected"));
}

}  // namespace
}  // namespace hadal::kernels
