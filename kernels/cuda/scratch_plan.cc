// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/scratch_plan.h"

#include <algorithm>

#include "kernels/cuda/cutlass_grouped.h"
#include "kernels/cuda/flash_prefill_plan.h"
#include "kernels/cuda/flashinfer.h"
#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kSampleLists = 8;   // lists and tables; each begins at a multiple of kAlignment
constexpr int64_t kMaxBiases = 4096;  // tokens of logit_bias and forbidden ones, generously
constexpr int64_t kWord = sizeof(int32_t);
constexpr int64_t kLists = 16 * kAlignment;  // what the alignment of a plan's lists may add

int64_t DivideUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

int64_t RoundUp(int64_t bytes) { return DivideUp(bytes, kAlignment) * kAlignment; }

// Of one row.
int64_t SampleWorkBytes(int64_t vocab) {
  const int64_t chunk = int64_t{sizeof(SampleChunk)} + kMaxTopLogprobs * int64_t{sizeof(SampleChoice)};
  return DivideUp(vocab, kSampleChunk) * chunk + kSampleStates * int64_t{sizeof(SampleState)} +
         (kSampleStates - 1) * kSampleBins * int64_t{sizeof(uint64_t)};
}

int64_t SampleBound(const StepBounds& b) {
  if (b.vocab == 0) return 0;
  const int64_t each = int64_t{sizeof(SampleRow)} + SampleWorkBytes(b.vocab) + DivideUp(b.vocab, 32) * kWord;
  const int64_t lists = (b.vocab + kMaxBiases) * int64_t{sizeof(SampleToken)};
  return std::max(kSampleScratchBytes, each + lists + kSampleLists * kAlignment);
}

int64_t ScoreBound(const StepBounds& b) {
  if (b.index_entry_tokens == 0) return 0;
  const int64_t row_bytes = DivideUp(b.context_tokens, b.index_entry_tokens) * int64_t{sizeof(float)};
  return std::max(std::min(kScoreScratchBytes, b.tokens * row_bytes), row_bytes);
}

// First pages, tokens of the last ones, and the pages themselves.
int64_t PageListBound(const StepBounds& b) {
  return (2 * b.sequences + 1 + b.sequences * DivideUp(b.context_tokens, b.block_tokens)) * kWord;
}

// FlashInfer's PrefillPlan splits keys only as far as two blocks a multiprocessor serve all key heads.
int64_t SplitTiles(const StepBounds& b, int64_t multiprocessors) { return 2 * multiprocessors / b.paged_kv_heads; }

// Partial sums of so many tiles, of the largest size.
int64_t PagedBound(const StepBounds& b, int64_t multiprocessors) {
  if (b.paged_heads == 0) return 0;
  constexpr int64_t kLargestTile = 128;
  const int64_t group = b.paged_heads / b.paged_kv_heads;
  // Steps that are replayed have a tile of the smallest size for each sequence, whether they need it or not.
  const int64_t replayed = b.sequences * DivideUp(group, 16) * 16;
  const int64_t rows = DivideUp(std::max(SplitTiles(b, multiprocessors) * kLargestTile, replayed), group);
  return b.paged_heads * rows * (b.paged_head_dim + 1) * int64_t{sizeof(float)} + kLists;
}

// FlashInfer's lists and those of the fixed plan name each tile three times, of the smallest size.
int64_t PagedListBound(const StepBounds& b, int64_t multiprocessors) {
  constexpr int64_t kSmallestTile = 16;
  const int64_t group = b.paged_heads / b.paged_kv_heads;
  const int64_t tiles =
      std::max(SplitTiles(b, multiprocessors), DivideUp(b.tokens * group, kSmallestTile) + b.sequences);
  return (3 * tiles + b.sequences + b.tokens + 4) * kWord;
}

int64_t LatentListBound(const StepBounds& b, int64_t multiprocessors) {
  const int64_t pieces = DivideUp(b.tokens * b.latent_heads, kFlashMlaTile) + b.sequences;
  const int64_t fixed = (8 * pieces + 4 * multiprocessors + 4) * kWord;
  return std::max(FlashMlaIntBytes(multiprocessors), fixed);
}

bool ExpandedByHopper(const StepBounds& b) {
  return b.expanded_kv_tokens > 0 && b.expanded_key_dim == kFlashPrefillKey;
}

// Joined keys of as many heads as go at once.
int64_t PrefillKeyBound(const StepBounds& b) {
  if (!ExpandedByHopper(b)) return 0;
  const int64_t all = PrefillKeyBytes(b.latent_heads, b.expanded_kv_tokens);
  return std::max(std::min(all, kPrefillKeyBytes), PrefillKeyBytes(1, b.expanded_kv_tokens));
}

// Seven numbers for each tile of each head. A sequence in this form has two new tokens at least.
int64_t PrefillListBound(const StepBounds& b, int64_t multiprocessors) {
  if (!ExpandedByHopper(b)) return 0;
  const int64_t tiles = DivideUp(b.tokens, kFlashPrefillTile) + std::min(b.sequences, b.tokens / 2);
  return (7 * tiles * b.latent_heads + multiprocessors + 1) * kWord + kLists;
}

}  // namespace

int64_t SampleRowBytes(const SampleRowParams& row, int64_t vocab) {
  const int64_t tokens = static_cast<int64_t>(row.penalties.size() + row.biases.size());
  const int64_t mask_words = row.allowed_mask.empty() ? 0 : DivideUp(vocab, 32);
  return int64_t{sizeof(SampleRow)} + tokens * int64_t{sizeof(SampleToken)} + mask_words * kWord +
         SampleWorkBytes(vocab);
}

SampleScratch LayOutSample(int64_t rows, int64_t vocab, int64_t top_columns) {
  SampleScratch scratch;
  const int64_t chunks = DivideUp(vocab, kSampleChunk);
  scratch.chunk_count = static_cast<int32_t>(chunks);
  scratch.states = RoundUp(rows * chunks * int64_t{sizeof(SampleChunk)});
  scratch.bins = scratch.states + RoundUp(rows * kSampleStates * int64_t{sizeof(SampleState)});
  scratch.top_choices = scratch.bins + RoundUp(rows * (kSampleStates - 1) * kSampleBins * int64_t{sizeof(uint64_t)});
  scratch.bytes = scratch.top_choices + rows * chunks * top_columns * int64_t{sizeof(SampleChoice)};
  return scratch;
}

int64_t SampleRowsAtOnce(absl::Span<const SampleRowParams> rows, int64_t vocab) {
  int64_t bytes = kSampleLists * kAlignment, count = 0;
  for (const SampleRowParams& row : rows) {
    bytes += SampleRowBytes(row, vocab);
    if (bytes > kSampleScratchBytes) break;
    ++count;
  }
  return std::max<int64_t>(count, 1);
}

int64_t ScratchBound(const StepBounds& b, int64_t multiprocessors) {
  const int64_t latent = b.latent_heads > 0 ? FlashMlaFloatBytes(multiprocessors) : 0;
  const int64_t most = std::max({SampleBound(b), ScoreBound(b), PagedBound(b, multiprocessors), latent,
                                 PrefillKeyBound(b), CutlassGroupedBytes(b.experts)});
  return RoundUp(most);
}

int64_t SampleListBound(const StepBounds& b) {
  if (b.vocab == 0) return 0;
  constexpr int64_t kTokens = 256;  // of a row's lists
  const int64_t row =
      int64_t{sizeof(SampleRow)} + kTokens * int64_t{sizeof(SampleToken)} + DivideUp(b.vocab, 32) * kWord;
  return RoundUp(b.sequences * row) + kSampleLists * kAlignment;
}

int64_t FlashPlanBound(const StepBounds& b, int64_t multiprocessors) {
  if (b.paged_heads == 0 && b.latent_heads == 0) return 0;
  const int64_t lists = b.paged_heads > 0 ? PagedListBound(b, multiprocessors) : LatentListBound(b, multiprocessors);
  return RoundUp(PageListBound(b) + lists + kLists + PrefillListBound(b, multiprocessors));
}

}  // namespace hadal::kernels::cuda
