// SPDX-License-Identifier: Apache-2.0
//
// Sampling of all rows of a batch at once, several blocks a row, each on a chunk of the vocabulary; the steps and their
// order are those of kernels/ops/sample.h. A greedy row takes two launches, a draw one more, top-k and top-p three more
// each. How a row is cut into chunks follows the vocabulary, and what blocks add to one sum are whole numbers, so a
// row's result does not depend on its neighbours.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sample_chunk.cuh"
#include "kernels/cuda/sample_select.cuh"
#include "kernels/ops/philox.h"
#include "kernels/ops/sample_status.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kChunkBytes = kSampleChunk * int64_t{sizeof(float)};
constexpr int64_t kScratchBytes = (kThreads + 2) * int64_t{sizeof(Mass)};
static_assert(sizeof(SampleChoice) == sizeof(Mass) && sizeof(double) == sizeof(Mass));

// Shared memory: the chunk, then a Mass for each thread and two more, then what the kernel adds.
struct Shared {
  float* z;
  Mass* scratch;
  unsigned char* more;
};

__device__ inline Shared Share() {
  unsigned char* memory = SharedMemory();
  return {reinterpret_cast<float*>(memory), reinterpret_cast<Mass*>(memory + kChunkBytes),
          memory + kChunkBytes + kScratchBytes};
}

__device__ inline Chunk OwnChunk(const SampleLaunch& p) {
  const auto chunks = static_cast<uint32_t>(p.chunk_count);
  return ChunkAt(p, blockIdx.x / chunks, static_cast<int32_t>(blockIdx.x % chunks));
}

__device__ inline Mass* BinsOf(const SampleLaunch& p, int64_t row) {
  return reinterpret_cast<Mass*>(p.bins) + row * kSelectPasses * kSampleBins;
}

// The model's own log-probabilities: the best logit of the chunk, the sum behind it, and the best tokens in order.
__device__ void RawFacts(const SampleLaunch& p, const SampleRow& row, const Chunk& chunk, const Shared& s,
                         SampleChunk* facts) {
  auto* choices = reinterpret_cast<SampleChoice*>(s.scratch);
  SampleChoice best = NextBest(s.z, chunk, {0, -1}, choices);
  double sum = 0;
  if (best.value != -INFINITY) {
    for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) sum += expf(s.z[i] - best.value);
  }
  sum = BlockReduce(sum, reinterpret_cast<double*>(s.scratch), Add());
  if (threadIdx.x == 0) {
    facts->raw_best = best;
    facts->raw_sum = sum;
  }
  SampleChoice* top = p.top_choices + (chunk.row * p.chunk_count + chunk.index) * p.top_columns;
  for (int32_t j = 0; j < row.top_logprobs; ++j) {
    if (threadIdx.x == 0) top[j] = best;
    if (best.id >= 0 && j + 1 < row.top_logprobs) best = NextBest(s.z, chunk, best, choices);
  }
}

__global__ void SamplePrepareKernel(SampleLaunch p) {
  const Shared s = Share();
  const Chunk chunk = OwnChunk(p);
  const SampleRow row = p.rows[chunk.row];
  SampleChunk* facts = p.chunks + chunk.row * p.chunk_count + chunk.index;
  if (p.draws) {
    Mass* bins = BinsOf(p, chunk.row);
    for (int i = chunk.index * ThreadCount() + ThreadIndex(); i < kSelectPasses * kSampleBins;
         i += p.chunk_count * ThreadCount()) {
      bins[i] = 0;
    }
  }
  LoadLogits(p, chunk, s.z);
  Mass marks = 0;  // bad ones in the low half, finite ones in the high half
  for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) {
    const float value = s.z[i];
    if (isnan(value) || value == INFINITY) marks += 1;
    if (isfinite(value)) marks += Mass{1} << 32;
  }
  marks = BlockReduce(marks, s.scratch, Add());
  if (threadIdx.x == 0) {
    facts->bad = (marks & 0xFFFFFFFFu) != 0 ? 1 : 0;
    facts->finite = marks >> 32 != 0 ? 1 : 0;
    facts->best = facts->raw_best = {0, -1};
    facts->raw_sum = 0;
  }
  if ((marks & 0xFFFFFFFFu) != 0) return;  // the row is faulty
  if (row.top_logprobs >= 0) RawFacts(p, row, chunk, s, facts);
  if (row.target_token >= 0) return;
  Adjust(p, row, chunk, s.z);
  const SampleChoice best = NextBest(s.z, chunk, {0, -1}, reinterpret_cast<SampleChoice*>(s.scratch));
  if (threadIdx.x == 0) facts->best = best;
}

// One digit of the threshold of top-k (passes 0 to 2) or top-p (3 to 5): the mass of each value that it may have.
__global__ void SampleDigitKernel(SampleLaunch p, int pass) {
  const Shared s = Share();
  auto* counts = reinterpret_cast<Mass*>(s.more);
  const Chunk chunk = OwnChunk(p);
  const SampleRow row = p.rows[chunk.row];
  const int64_t vocab = p.logits.size[1];
  const RowFacts facts = FactsOf(p, chunk.row);
  const bool top_k = pass < kTopPFirstPass;
  if (!Draws(row, facts) || (top_k ? !UsesTopK(row, vocab) : !UsesTopP(row))) return;  // the same for all threads
  SampleState* states = p.states + chunk.row * kSampleStates;
  const SampleState state = StateBefore(pass, row, vocab, facts.best.value, states, BinsOf(p, chunk.row), s.scratch);
  if (chunk.index == 0 && threadIdx.x == 0) states[pass] = state;
  for (int i = ThreadIndex(); i < kSampleBins; i += ThreadCount()) counts[i] = 0;
  LoadLogits(p, chunk, s.z);
  Adjust(p, row, chunk, s.z);
  for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) {
    const uint32_t key = Key(s.z[i]);
    if (pass % 3 != 0 && key >> DigitShift(pass - 1) != state.key >> DigitShift(pass - 1)) continue;
    if (!top_k && key < state.limit_key) continue;
    const Mass mass = top_k ? 1 : Likelihood(row, s.z[i], facts.best.value);
    if (mass > 0) atomicAdd(counts + Digit(key, pass), mass);
  }
  __syncthreads();
  Mass* bins = BinsOf(p, chunk.row) + int64_t{pass} * kSampleBins;
  for (int i = ThreadIndex(); i < kSampleBins; i += ThreadCount()) {
    if (counts[i] > 0) atomicAdd(bins + i, counts[i]);
  }
}

// The likelihood of the chunk's tokens above the threshold, and how many lie at it.
__global__ void SampleSumKernel(SampleLaunch p) {
  const Shared s = Share();
  const Chunk chunk = OwnChunk(p);
  const SampleRow row = p.rows[chunk.row];
  const RowFacts facts = FactsOf(p, chunk.row);
  if (!Draws(row, facts)) return;  // the same for all threads
  SampleState* states = p.states + chunk.row * kSampleStates;
  const SampleState state =
      StateBefore(kSelectPasses, row, p.logits.size[1], facts.best.value, states, BinsOf(p, chunk.row), s.scratch);
  LoadLogits(p, chunk, s.z);
  Adjust(p, row, chunk, s.z);
  Mass above = 0, ties = 0;
  for (int i = ThreadIndex(); i < chunk.count; i += ThreadCount()) {
    const uint32_t key = Key(s.z[i]);
    if (key > state.limit_key) above += KeptLikelihood(row, s.z[i], facts.best.value);
    if (key == state.limit_key) ++ties;
  }
  above = BlockReduce(above, s.scratch, Add());
  ties = BlockReduce(ties, s.scratch, Add());
  if (threadIdx.x != 0) return;
  SampleChunk* own = p.chunks + chunk.row * p.chunk_count + chunk.index;
  own->above = above;
  own->ties = ties;
  if (chunk.index == 0) states[kSelectPasses] = state;
}

// Inverse of the cumulative distribution in id order: first the chunk, then the token in it.
__device__ int32_t DrawToken(const SampleLaunch& p, const SampleRow& row, int64_t row_index, const SampleChoice& choice,
                             const Shared& s) {
  const float best = choice.value;
  auto* result = reinterpret_cast<int32_t*>(s.more);
  if (threadIdx.x == 0) *result = choice.id;  // always kept; LoadLogits' barrier parts this from what is found
  const SampleState limit = p.states[row_index * kSampleStates + kSelectPasses];
  const SampleChunk* chunks = p.chunks + row_index * p.chunk_count;
  const Mass each = KeptLikelihood(row, ValueOf(limit.limit_key), best);
  const auto kept_ties = [&](Mass before, Mass in_chunk) {
    if (before >= limit.limit_ties) return Mass{0};
    return limit.limit_ties - before < in_chunk ? static_cast<Mass>(limit.limit_ties - before) : in_chunk;
  };
  Mass total = 0, ties = 0;
  for (int32_t c = 0; c < p.chunk_count; ++c) {
    total += chunks[c].above + kept_ties(ties, chunks[c].ties) * each;
    ties += chunks[c].ties;
  }
  auto target = static_cast<Mass>(SampleUniform(row.seed, row.random_counter) * static_cast<double>(total));
  if (target >= total) target = total - 1;  // the product was rounded up; the best token is kept, so total > 0
  int32_t index = 0;
  Mass before = 0;
  for (ties = 0;; ++index) {
    const Mass own = chunks[index].above + kept_ties(ties, chunks[index].ties) * each;
    if (before + own > target || index + 1 == p.chunk_count) break;
    before += own;
    ties += chunks[index].ties;
  }
  const Chunk chunk = ChunkAt(p, row_index, index);
  LoadLogits(p, chunk, s.z);
  Adjust(p, row, chunk, s.z);
  const int kEach = kSampleChunk / ThreadCount();
  const int first = ThreadIndex() * kEach;
  const int last = first + kEach < chunk.count ? first + kEach : chunk.count;
  Mass own_ties = 0, all = 0, own = 0;
  for (int i = first; i < last; ++i) own_ties += Key(s.z[i]) == limit.limit_key ? 1 : 0;
  const Mass ties_before = ties + BlockExclusiveSum(own_ties, s.scratch, &all);
  const auto walk = [&](Mass from, int32_t* token) {
    Mass rank = ties_before;
    for (int i = first; i < last; ++i) {
      const uint32_t key = Key(s.z[i]);
      const bool tie = key == limit.limit_key;
      if (key > limit.limit_key || (tie && rank < limit.limit_ties)) from += KeptLikelihood(row, s.z[i], best);
      if (tie) ++rank;
      if (token != nullptr && from > target) {
        *token = chunk.begin + i;
        return from;
      }
    }
    return from;
  };
  own = walk(0, nullptr);
  before += BlockExclusiveSum(own, s.scratch, &all);
  if (before <= target && target < before + own) walk(before, result);
  __syncthreads();
  return *result;
}

// The best tokens of the row, from those of its chunks.
__device__ void WriteTop(const SampleLaunch& p, const SampleRow& row, int64_t row_index, double normaliser,
                         SampleChoice* scratch) {
  const SampleChoice* candidates = p.top_choices + row_index * p.chunk_count * p.top_columns;
  SampleChoice best{0, -1};
  for (int32_t j = 0; j < row.top_logprobs; ++j) {
    SampleChoice next{0, -1};
    for (int32_t i = ThreadIndex(); i < p.chunk_count * row.top_logprobs; i += ThreadCount()) {
      const SampleChoice choice = candidates[i / row.top_logprobs * p.top_columns + i % row.top_logprobs];
      if (choice.id >= 0 && (best.id < 0 || Before(best, choice)) && Before(choice, next)) next = choice;
    }
    best = BlockReduce(next, scratch, BestChoice());
    if (best.id < 0) return;  // the vocabulary holds fewer
    if (threadIdx.x == 0) {
      p.out_top_tokens[row_index * p.top_columns + j] = best.id;
      p.out_top_logprobs[row_index * p.top_columns + j] =
          static_cast<float>(static_cast<double>(best.value) - normaliser);
    }
  }
}

// One block a row.
__global__ void SampleFinishKernel(SampleLaunch p) {
  const Shared s = Share();
  const int64_t index = blockIdx.x;
  const SampleRow row = p.rows[index];
  const RowFacts facts = FactsOf(p, index);
  int32_t status = kSampleOk, token = -1;
  if (!facts.good) {
    status = kSampleBadLogits;
  } else if (row.target_token >= 0) {
    token = row.target_token;
  } else if (facts.best.value == -INFINITY) {
    status = kSampleNothingAllowed;
  } else {
    token = Draws(row, facts) ? DrawToken(p, row, index, facts.best, s) : facts.best.id;
  }
  const bool wanted = status == kSampleOk && row.top_logprobs >= 0;  // the same for all threads
  const double normaliser = wanted ? static_cast<double>(facts.raw_best.value) + log(facts.raw_sum) : 0;
  if (threadIdx.x == 0) {
    const float* logits = static_cast<const float*>(p.logits.data) + index * p.logits.stride[0];
    p.out_status[index] = status;
    p.out_tokens[index] = token;
    p.out_logprobs[index] = wanted ? static_cast<float>(static_cast<double>(logits[token]) - normaliser) : 0.0f;
  }
  for (int32_t j = ThreadIndex(); j < static_cast<int32_t>(p.top_columns); j += ThreadCount()) {
    p.out_top_tokens[index * p.top_columns + j] = -1;
    p.out_top_logprobs[index * p.top_columns + j] = 0;
  }
  __syncthreads();
  if (wanted) WriteTop(p, row, index, normaliser, reinterpret_cast<SampleChoice*>(s.scratch));
}

}  // namespace

int LaunchSample(Stream stream, const SampleLaunch& p) {
  // Of a small vocabulary fewer have work; a power of two, as reductions want it.
  int threads = 32;
  while (threads < kThreads && threads * 16 < p.logits.size[1]) threads *= 2;
  constexpr int64_t kShared = kChunkBytes + kScratchBytes, kWithBins = kShared + kSampleBins * int64_t{sizeof(Mass)};
  const int64_t rows = p.logits.size[0], blocks = rows * p.chunk_count;
  if (int error = Launch(stream, SamplePrepareKernel, blocks, threads, kShared, p); error != 0) return error;
  for (int pass = 0; pass < kSelectPasses; ++pass) {
    if (pass < kTopPFirstPass ? !p.uses_top_k : !p.uses_top_p) continue;
    if (int error = Launch(stream, SampleDigitKernel, blocks, threads, kWithBins, p, pass); error != 0) return error;
  }
  if (p.draws) {
    if (int error = Launch(stream, SampleSumKernel, blocks, threads, kShared, p); error != 0) return error;
  }
  return Launch(stream, SampleFinishKernel, rows, threads, kShared + 16, p);
}

}  // namespace hadal::kernels::cuda
