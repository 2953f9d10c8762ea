// SPDX-License-Identifier: Apache-2.0
//
// What the blocks of a sampled row share: its chunk of the vocabulary in shared memory, with penalties, bias and mask
// applied; and the best of its tokens.
#pragma once

#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {

// Larger value first, then the lower id. NaN does not occur here.
__device__ inline bool Before(const SampleChoice& a, const SampleChoice& b) {
  if (a.id < 0 || b.id < 0) return a.id >= 0;
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

struct BestChoice {
  __device__ SampleChoice operator()(const SampleChoice& a, const SampleChoice& b) const {
    return Before(a, b) ? a : b;
  }
};

// The part of a row that a block works on.
struct Chunk {
  int64_t row;
  int32_t index, begin, count;  // number of the chunk, first token, tokens
};

__device__ inline Chunk ChunkAt(const SampleLaunch& p, int64_t row, int32_t index) {
  const int32_t begin = index * kSampleChunk, left = static_cast<int32_t>(p.logits.size[1]) - begin;
  return {row, index, begin, left < kSampleChunk ? left : kSampleChunk};
}

// Best token of the chunk after `previous` in the order of Before; previous.id < 0: the very best.
__device__ inline SampleChoice NextBest(const float* z, const Chunk& chunk, SampleChoice previous,
                                        SampleChoice* scratch) {
  SampleChoice best{0, -1};
  for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) {
    const SampleChoice token{z[i], chunk.begin + i};
    if ((previous.id < 0 || Before(previous, token)) && Before(token, best)) best = token;
  }
  return BlockReduce(best, scratch, BestChoice());
}

__device__ inline void LoadLogits(const SampleLaunch& p, const Chunk& chunk, float* z) {
  const float* logits = static_cast<const float*>(p.logits.data) + chunk.row * p.logits.stride[0] + chunk.begin;
  for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) z[i] = logits[i];
  __syncthreads();
}

__device__ inline void ApplyPenalty(const SampleRow& row, const SampleToken& penalty, float* z) {
  float value = *z;
  if (penalty.in_prompt != 0 || penalty.output_count > 0) {
    value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
    value = fminf(value, 3.402823466e+38f);
  }
  if (penalty.output_count > 0) {
    value -= row.frequency_penalty * static_cast<float>(penalty.output_count) + row.presence_penalty;
  }
  *z = value;
}

// Penalties, bias, mask, in that order, to the logits in `z`. An id that a list holds twice is adjusted twice, in
// order.
__device__ inline void Adjust(const SampleLaunch& p, const SampleRow& row, const Chunk& chunk, float* z) {
  const int64_t first = row.in_order != 0 ? (threadIdx.x == 0 ? 0 : INT64_MAX) : int64_t{threadIdx.x};
  const int64_t step = row.in_order != 0 ? 1 : ThreadCount();
#pragma unroll 1  // else it begins with a division, as HADAL_GRID_STRIDE says
  for (int64_t i = first; i < row.penalties; i += step) {
    const SampleToken& penalty = p.tokens[row.first_penalty + i];
    const int32_t at = penalty.token_id - chunk.begin;
    if (at >= 0 && at < chunk.count) ApplyPenalty(row, penalty, z + at);
  }
  __syncthreads();
#pragma unroll 1
  for (int64_t i = first; i < row.biases; i += step) {
    const SampleToken& bias = p.tokens[row.first_bias + i];
    const int32_t at = bias.token_id - chunk.begin;
    if (at >= 0 && at < chunk.count) z[at] += bias.bias;
  }
  __syncthreads();
  if (row.first_mask_word >= 0) {
    const uint32_t* mask = p.mask_words + row.first_mask_word + chunk.begin / 32;
    for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) {
      if ((mask[i / 32] >> (i % 32) & 1u) == 0) z[i] = -INFINITY;
    }
  }
  __syncthreads();
}

// What the chunks have found of a row, put together in their order.
struct RowFacts {
  bool good;                    // every logit below +infinity and no NaN, and one is finite
  SampleChoice best, raw_best;  // with and without adjustments
  double raw_sum;               // of exp(logit - raw_best)
};

__device__ inline RowFacts FactsOf(const SampleLaunch& p, int64_t row) {
  const SampleChunk* chunks = p.chunks + row * p.chunk_count;
  RowFacts facts = {true, {0, -1}, {0, -1}, 0};
  bool finite = false;
  for (int32_t c = 0; c < p.chunk_count; ++c) {
    if (chunks[c].bad != 0) facts.good = false;
    if (chunks[c].finite != 0) finite = true;
    if (Before(chunks[c].best, facts.best)) facts.best = chunks[c].best;
    if (Before(chunks[c].raw_best, facts.raw_best)) facts.raw_best = chunks[c].raw_best;
  }
  facts.good = facts.good && finite;
  if (!facts.good || facts.raw_best.id < 0) return facts;
  for (int32_t c = 0; c < p.chunk_count; ++c) {
    if (chunks[c].raw_sum == 0) continue;  // nothing finite
    facts.raw_sum += chunks[c].raw_sum *
                     exp(static_cast<double>(chunks[c].raw_best.value) - static_cast<double>(facts.raw_best.value));
  }
  return facts;
}

__device__ inline bool Draws(const SampleRow& row, const RowFacts& facts) {
  return facts.good && row.target_token < 0 && row.temperature > 0 && facts.best.value != -INFINITY;
}

}  // namespace hadal::kernels::cuda
