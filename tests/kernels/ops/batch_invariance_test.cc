// SPDX-License-Identifier: Apache-2.0
//
// Products and attention of a batch-invariant backend: a row is equal to the last bit in every company. Shapes are odd
// and padded, and those of real models, which a device hands to its libraries. The other ops work on single rows;
// tests/models/families/batch_invariance_test.cc holds whole models to it.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

std::vector<Variant> BatchInvariantVariants() {
  std::vector<Variant> variants = TestedVariants();
  std::erase_if(variants, [](const Variant& v) { return v.backend.starts_with("torch"); });  // it refuses the option
  for (Variant& variant : variants) variant.options.batch_invariant = true;
  return variants;
}

class RowInvarianceTest : public OpTest {};
INSTANTIATE_TEST_SUITE_P(Backends, RowInvarianceTest, ::testing::ValuesIn(BatchInvariantVariants()), VariantName);

std::vector<double> Rows(const std::vector<double>& all, int64_t rows, int64_t first, int64_t count) {
  const int64_t width = static_cast<int64_t>(all.size()) / rows;
  return {all.begin() + first * width, all.begin() + (first + count) * width};
}

// The CPU adds so long a sum in parts, and a library would like to split it. The emulator takes its time.
int64_t LongSum() { return std::getenv("HADAL_EMULATED_GPU") != nullptr ? 600 : 5000; }

TEST_P(RowInvarianceTest, Gemm) {
  struct Shape {
    int64_t m, n, k, padding;
  };
  for (DType dtype : kComputeDTypes) {
    for (DType out : {dtype, DType::kF32}) {
      for (const Shape& s : {Shape{150, 37, 70, 3}, {70, 70, LongSum(), 0}, {150, 96, 256, 0}}) {
        Arena arena(backend());
        const GemmParams all = {.x = arena.Random(dtype, {s.m, s.k}, 1.0f, s.padding),
                                .w = WeightView::Plain(arena.Random(dtype, {s.n, s.k})),
                                .bias = arena.Random(out, {s.n}),
                                .out = arena.Output(out, {s.m, s.n}, s.padding)};
        ASSERT_EQ(backend()->Gemm(all), absl::OkStatus());
        const std::vector<double> expected = arena.Read(all.out);
        for (int64_t count : {1, 2, 5, 12, 13, 16, 63, 64, 65, 128}) {
          for (int64_t first = 0; first + count <= s.m; first += std::max<int64_t>(count, 40)) {
            GemmParams some = all;
            some.x = all.x.Slice(0, first, count);
            some.out = arena.Output(out, {count, s.n}, s.padding);
            ASSERT_EQ(backend()->Gemm(some), absl::OkStatus());
            ASSERT_EQ(arena.Read(some.out), Rows(expected, s.m, first, count))
                << DTypeName(dtype) << ", rows " << first << " to " << first + count << " of " << s.m << "x" << s.k;
          }
        }
      }
    }
  }
}

TEST_P(RowInvarianceTest, BatchedAndGroupedGemm) {
  constexpr int64_t kRows = 70, kHeads = 4, kDim = 64, kOut = 128;
  for (DType dtype : kComputeDTypes) {
    Arena arena(backend());
    const BatchedGemmParams all = {.x = arena.Random(dtype, {kRows, kHeads, kDim}),
                                   .w = WeightView::Plain(arena.Random(dtype, {kHeads, kOut, kDim})),
                                   .out = arena.Output(dtype, {kRows, kHeads, kOut})};
    ASSERT_EQ(backend()->BatchedGemm(all), absl::OkStatus());
    // The rows of one head, those up to 40 with the first expert.
    const TensorView w = arena.Random(dtype, {2, kOut, kDim});
    const auto grouped = [&](int64_t first, int64_t count, int32_t of_first_expert) {
      const TensorView x = all.x.Slice(0, first, count).Slice(1, 0, 1), rows(x.data, dtype, {count, kDim});
      GroupedGemmParams p = {.x = rows,
                             .expert_start = arena.Ints({3}, {0, of_first_expert, static_cast<int32_t>(count)}),
                             .w = {.values = arena.Longs({2}, {Arena::Address(w), Arena::Address(w.At(1))}),
                                   .scales = {},
                                   .each = WeightView::Plain(w.At(0))},
                             .out = arena.Output(dtype, {count, kOut})};
      p.x.strides[0] = x.stride(0);
      EXPECT_EQ(backend()->GroupedGemm(p), absl::OkStatus());
      return arena.Read(p.out);
    };
    const std::vector<double> expected = arena.Read(all.out), expected_grouped = grouped(0, kRows, 40);
    for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {39, 2}, {7, 33}, {38, 20}}) {
      BatchedGemmParams some = all;
      some.x = all.x.Slice(0, first, count);
      some.out = arena.Output(dtype, {count, kHeads, kOut});
      ASSERT_EQ(backend()->BatchedGemm(some), absl::OkStatus());
      ASSERT_EQ(arena.Read(some.out), Rows(expected, kRows, first, count)) << DTypeName(dtype) << " " << first;
      const auto of_first = static_cast<int32_t>(std::clamp<int64_t>(40 - first, 0, count));
      ASSERT_EQ(grouped(first, count, of_first), Rows(expected_grouped, kRows, first, count))
          << DTypeName(dtype) << " " << first;
    }
  }
}

// How the last rows of a sequence may come: {new tokens, context} of it and of others before and behind it.
struct Company {
  std::vector<int32_t> queries, contexts;
  int64_t subject;  // index
};

constexpr int32_t kContext = 300, kBlockTokens = 16, kTail = 3;

std::vector<Company> Companies() {
  return {{{1}, {kContext - 2}, 0},  // the same row as the last but two below
          {{1, 1}, {700, kContext - 2}, 1},
          {{kTail}, {kContext}, 0},
          {{kContext}, {kContext}, 0},
          {{70}, {kContext}, 0},
          {{1, kTail, 65, 1}, {1, kContext, 65, 200}, 1},
          {{40, 1, 0, kTail}, {800, 9, 5, kContext}, 3}};
}

// Runs `attend(batch, rows)` for each company; rows are the row of the whole sequence that each query row repeats. The
// caches hold the subject's blocks at the front.
void ExpectOneRowInEveryCompany(
    Arena& arena, int64_t blocks,
    const std::function<std::vector<double>(const RaggedBatch&, int64_t tokens, int64_t subject_row)>& attend) {
  std::vector<double> expected;
  for (const Company& company : Companies()) {
    RaggedBatch batch = arena.Ragged(company.queries, company.contexts, kBlockTokens, blocks);
    // The subject's blocks are always the same; the others keep theirs, which may be the same ones: they only read.
    const int64_t columns = batch.block_tables.size(1);
    std::vector<int32_t> table;
    for (double id : arena.Read(batch.block_tables)) table.push_back(static_cast<int32_t>(id));
    for (int64_t b = 0; b * kBlockTokens < kContext; ++b) {
      table[company.subject * columns + b] = static_cast<int32_t>((7 * b + 3) % blocks);
    }
    batch.block_tables = arena.Ints({static_cast<int64_t>(company.contexts.size()), columns}, table);
    int64_t tokens = 0, row = -1;
    for (size_t s = 0; s < company.queries.size(); ++s) {
      tokens += company.queries[s];
      // Position kContext - 3 is the last but two.
      if (static_cast<int64_t>(s) == company.subject) row = tokens - 1 - (company.contexts[s] - (kContext - 2));
    }
    const std::vector<double> found = attend(batch, tokens, row);
    if (expected.empty()) expected = found;
    ASSERT_EQ(found, expected) << tokens << " tokens, row " << row;
  }
}

// [tokens, ...] whose rows are equal, so that the subject's row may lie anywhere.
TensorView EqualRows(Arena& arena, DType dtype, int64_t tokens, int64_t heads, int64_t dim) {
  std::vector<float> values(tokens * heads * dim);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i % static_cast<size_t>(heads * dim)) * 1.7f);
  }
  return arena.Values(dtype, {tokens, heads, dim}, values);
}

TEST_P(RowInvarianceTest, PagedAttention) {
  constexpr int64_t kBlocks = 150;
  for (DType dtype : {DType::kBF16, DType::kF32}) {
    for (const auto& [heads, kv_heads, dim] :
         std::vector<std::array<int64_t, 3>>{{5, 5, 18}, {4, 2, 64}, {6, 1, 128}}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " heads ", heads, "/", kv_heads, " dim ", dim));
      Arena arena(backend());
      const TensorView k = arena.Random(dtype, {kBlocks, kBlockTokens, kv_heads, dim});
      const TensorView v = arena.Random(dtype, {kBlocks, kBlockTokens, kv_heads, dim});
      ExpectOneRowInEveryCompany(arena, kBlocks, [&](const RaggedBatch& batch, int64_t tokens, int64_t row) {
        const TensorView out = arena.Output(dtype, {tokens, heads, dim});
        EXPECT_EQ(backend()->PagedAttention({.q = EqualRows(arena, dtype, tokens, heads, dim),
                                             .k_cache = k,
                                             .v_cache = v,
                                             .out = out,
                                             .batch = batch,
                                             .scale = 1.0f / std::sqrt(static_cast<float>(dim))}),
                  absl::OkStatus());
        return Rows(arena.Read(out), tokens, row, 1);
      });
    }
  }
}

// With and without lists of positions: a row that lists all it sees is equal to one that has no list.
TEST_P(RowInvarianceTest, MlaAttention) {
  constexpr int64_t kBlocks = 150;
  for (const auto& [heads, latent, rope] : std::vector<std::array<int64_t, 3>>{{3, 41, 12}, {4, 512, 64}}) {
    for (bool may_select : {false, true}) {
      SCOPED_TRACE(absl::StrCat(heads, " heads of ", latent, "+", rope, may_select ? ", may select" : ""));
      Arena arena(backend());
      const TensorView cache = arena.Random(DType::kBF16, {kBlocks, kBlockTokens, latent + rope});
      const auto attend = [&](const RaggedBatch& batch, int64_t tokens, int64_t row, const TensorView& selected) {
        const TensorView out = arena.Output(DType::kBF16, {tokens, heads, latent});
        EXPECT_EQ(backend()->MlaAttention({.q_lat = EqualRows(arena, DType::kBF16, tokens, heads, latent),
                                           .q_pe = EqualRows(arena, DType::kBF16, tokens, heads, rope),
                                           .cache = cache,
                                           .o_lat = out,
                                           .batch = batch,
                                           .scale = 0.05f,
                                           .selected = selected,
                                           .may_select = may_select}),
                  absl::OkStatus());
        return Rows(arena.Read(out), tokens, row, 1);
      };
      ExpectOneRowInEveryCompany(arena, kBlocks, [&](const RaggedBatch& batch, int64_t tokens, int64_t row) {
        const std::vector<double> dense = attend(batch, tokens, row, {});
        if (may_select && tokens == 1) {
          std::vector<int32_t> all(kContext + 7, -1);
          for (int32_t p = 0; p < kContext - 2; ++p) all[p] = p;
          EXPECT_EQ(attend(batch, 1, 0, arena.Ints({1, kContext + 7}, all)), dense);
        }
        return dense;
      });
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
