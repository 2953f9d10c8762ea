// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/scratch_plan.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/flash_fixed_plan.h"
#include "kernels/cuda/flash_prefill_plan.h"
#include "tests/kernels/cuda/owned_batch.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kMultiprocessors = 132;

int64_t Bytes(const std::vector<int32_t>& words) { return static_cast<int64_t>(words.size() * sizeof(int32_t)); }

// The largest batch that bounds allow: so many decodes, then prompts, all of the longest context.
OwnedBatch LargestBatch(const StepBounds& bounds, int64_t decodes) {
  std::vector<int32_t> queries;
  int64_t left = bounds.tokens;
  for (int64_t s = 0; s < bounds.sequences; ++s) {
    const int64_t others = bounds.sequences - s - 1;  // one token each at least
    queries.push_back(static_cast<int32_t>(s < decodes ? 1 : left - others));
    left -= queries.back();
  }
  return OwnedBatch::OfQueries(queries,
                               std::vector<int32_t>(bounds.sequences, static_cast<int32_t>(bounds.context_tokens)));
}

TEST(ScratchPlanTest, PlansOfTheLargestStepsFit) {
  for (const int64_t sequences : {1, 7, 256}) {
    for (const int64_t tokens : {int64_t{1}, int64_t{256}, int64_t{8192}}) {
      for (const int64_t heads : {16, 128}) {
        if (tokens < sequences) continue;
        StepBounds bounds = {.tokens = tokens, .sequences = sequences, .context_tokens = 9000, .block_tokens = 16};
        for (const int64_t decodes : {int64_t{0}, sequences - 1, sequences}) {
          const OwnedBatch b = LargestBatch(bounds, decodes);
          const FlashPages pages = *PlanPages(b.batch, bounds.block_tokens);
          const int64_t lists =
              Bytes(pages.first_page) + Bytes(pages.last_page_tokens) + pages.pages() * int64_t{sizeof(int32_t)};
          StepBounds latent = bounds;
          latent.latent_heads = heads;
          const FlashFixedMla mla = PlanFixedMla(b.batch, pages, heads, kMultiprocessors);
          EXPECT_GE(FlashPlanBound(latent, kMultiprocessors), lists + Bytes(mla.words) + 3 * 256);
          EXPECT_GE(FlashPlanBound(latent, kMultiprocessors), lists + FlashMlaIntBytes(kMultiprocessors) + 3 * 256);
          EXPECT_GE(ScratchBound(latent, kMultiprocessors), FlashMlaFloatBytes(kMultiprocessors));
          StepBounds paged = bounds;
          paged.paged_heads = 28;
          paged.paged_kv_heads = 4;
          paged.paged_head_dim = 128;
          EXPECT_GE(FlashPlanBound(paged, kMultiprocessors), lists + Bytes(PlanFixedPaged(b.batch, 7).words) + 3 * 256);
        }
      }
    }
  }
}

// Prompts in the expanded form: as many tokens as a step holds, in sequences of any number.
TEST(ScratchPlanTest, ExpandedPromptsOnHopperFit) {
  for (const int64_t heads : {16, 128}) {
    for (const int64_t tokens : {2, 200, 8192}) {
      for (const int64_t sequences : {1, 9, 256}) {
        if (tokens < 2 * sequences) continue;
        StepBounds bounds = {.tokens = tokens, .sequences = sequences, .context_tokens = 9000, .block_tokens = 16};
        bounds.latent_heads = heads;
        const int64_t lists = FlashPlanBound(bounds, kMultiprocessors);
        bounds.expanded_kv_tokens = 2 * tokens;
        bounds.expanded_key_dim = 192;
        std::vector<int32_t> queries(sequences, 2);
        queries[0] += static_cast<int32_t>(tokens - 2 * sequences);
        std::vector<int32_t> contexts;
        for (const int32_t count : queries) contexts.push_back(2 * count);
        const OwnedBatch b = OwnedBatch::OfQueries(queries, contexts);
        const int64_t at_once = PrefillHeadsAtOnce(heads, 2 * tokens);
        EXPECT_GE(FlashPlanBound(bounds, kMultiprocessors),
                  lists + Bytes(PlanPrefillWork(b.batch, at_once, kMultiprocessors).words));
        EXPECT_GE(ScratchBound(bounds, kMultiprocessors), PrefillKeyBytes(at_once, 2 * tokens));
        bounds.expanded_key_dim = 128;  // not served by that kernel
        EXPECT_EQ(FlashPlanBound(bounds, kMultiprocessors), lists);
      }
    }
  }
}

// What FlashInfer's PrefillPlan asks for when it splits: a row for each query of a tile, float32 values and a
// logarithm.
TEST(ScratchPlanTest, PartialSumsOfSplitKeysFit) {
  const StepBounds b = {.tokens = 256,
                        .sequences = 256,
                        .context_tokens = 4096,
                        .block_tokens = 16,
                        .paged_heads = 28,
                        .paged_kv_heads = 4,
                        .paged_head_dim = 128};
  const int64_t tiles = 2 * kMultiprocessors / 4;
  for (const int64_t tile_rows : {16, 64, 128}) {
    EXPECT_GE(ScratchBound(b, kMultiprocessors), 28 * (tiles * tile_rows / 7 + 1) * (128 + 1) * 4);
  }
}

TEST(ScratchPlanTest, ScoresTakeTurnsUnlessOneRowIsLarge) {
  StepBounds b = {.tokens = 2048, .sequences = 4, .context_tokens = 163840, .block_tokens = 64};
  EXPECT_EQ(ScratchBound(b, kMultiprocessors), 0);
  b.index_entry_tokens = 1;
  EXPECT_EQ(ScratchBound(b, kMultiprocessors), kScoreScratchBytes);
  b.tokens = 3;
  EXPECT_EQ(ScratchBound(b, kMultiprocessors), 3 * 163840 * 4);
  b.context_tokens = int64_t{1} << 26;
  EXPECT_EQ(ScratchBound(b, kMultiprocessors), int64_t{1} << 28);
}

TEST(ScratchPlanTest, SampledRowsTakeTurnsWithinTheBound) {
  constexpr int64_t kVocab = 129280;
  const std::vector<SamplePenalty> penalties(kVocab);
  const std::vector<uint32_t> mask((kVocab + 31) / 32, 1);
  std::vector<SampleRowParams> rows(1000);
  const int64_t plain = SampleRowsAtOnce(rows, kVocab);
  EXPECT_EQ(plain, (kSampleScratchBytes - 2048) / SampleRowBytes(rows[0], kVocab));
  rows[3].penalties = penalties;
  rows[4].allowed_mask = mask;
  EXPECT_LT(SampleRowsAtOnce(rows, kVocab), plain);
  EXPECT_EQ(SampleRowsAtOnce(absl::MakeConstSpan(rows).first(2), kVocab), 2);
  const StepBounds b = {.tokens = 256, .sequences = 256, .context_tokens = 4096, .vocab = kVocab};
  rows[3].allowed_mask = mask;
  EXPECT_GE(ScratchBound(b, kMultiprocessors), SampleRowBytes(rows[3], kVocab));
  // All of a batch with ordinary lists is one turn.
  rows.assign(256, {.top_k = 40, .top_p = 0.9f, .allowed_mask = mask});
  EXPECT_EQ(SampleRowsAtOnce(rows, kVocab), 256);
  const StepBounds huge = {.tokens = 1, .sequences = 1, .context_tokens = 1, .vocab = 5000000};
  EXPECT_GT(ScratchBound(huge, kMultiprocessors), kSampleScratchBytes);
  const std::vector<SamplePenalty> every_token(5000000);
  for (SampleRowParams& row : rows) row.penalties = every_token;
  EXPECT_EQ(SampleRowsAtOnce(rows, 5000000), 1);
}

}  // namespace
}  // namespace hadal::kernels::cuda
