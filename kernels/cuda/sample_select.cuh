// SPDX-License-Identifier: Apache-2.0
//
// Which tokens of a row may be drawn: the best ones that top-k and top-p keep, found by radix selection. The order of
// tokens is that of their 32-bit keys, the lower id first among equals, and a threshold in it (a key, and how many
// tokens of that very key) is found digit by digit: a pass over the vocabulary adds the mass of each value of the digit
// to a bin, and the next pass goes on in the bin in which the target is reached. Mass is 1 for top-k and the likelihood
// for top-p. Likelihoods are whole numbers, so that no sum depends on an order: any number of blocks may add to a bin.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/top_k_threshold.cuh"

namespace hadal::kernels::cuda {

using Mass = unsigned long long;  // what atomicAdd takes

constexpr int kTopKPasses = 3, kTopPFirstPass = 3, kSelectPasses = kSampleStates - 1;

// Bits below the digit of a pass; digits have 11, 11 and 10 bits.
__device__ inline int DigitShift(int pass) { return pass % 3 == 0 ? 21 : pass % 3 == 1 ? 10 : 0; }
__device__ inline uint32_t Digit(uint32_t key, int pass) {
  return key >> DigitShift(pass) & (pass % 3 == 2 ? 0x3FFu : 0x7FFu);
}

// The float of a key; -0 has become 0.
__device__ inline float ValueOf(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

__device__ inline bool UsesTopK(const SampleRow& row, int64_t vocab) { return row.top_k > 0 && row.top_k < vocab; }
__device__ inline bool UsesTopP(const SampleRow& row) { return row.top_p < 1; }

// Likelihood relative to the best token's, in units of 2^-40: a vocabulary of 2^20 tokens adds up to less than 2^61.
__device__ inline Mass Likelihood(const SampleRow& row, float z, float best) {
  return static_cast<Mass>(expf((z - best) / row.temperature) * 1099511627776.0f);
}
// The same after min-p.
__device__ inline Mass KeptLikelihood(const SampleRow& row, float z, float best) {
  const float likelihood = expf((z - best) / row.temperature);
  return likelihood < row.min_p ? 0 : static_cast<Mass>(likelihood * 1099511627776.0f);
}

// Walks down from the highest bin to the one in which `target` (at least 1) is reached. All threads get it; *left is
// what is still wanted in it. `scratch` holds a Mass for each thread and two more.
__device__ inline uint32_t FindBin(const Mass* bins, Mass target, Mass* scratch, Mass* left) {
  Mass* found = scratch + ThreadCount();
  const int kEach = kSampleBins / ThreadCount();
  const int top = kSampleBins - 1 - ThreadIndex() * kEach;
  Mass own = 0, all = 0;
  for (int i = 0; i < kEach; ++i) own += bins[top - i];
  if (threadIdx.x == 0) found[0] = found[1] = 0;
  Mass above = BlockExclusiveSum(own, scratch, &all);
  if (above < target && above + own >= target) {
    for (int i = 0; i < kEach; ++i) {
      if (above + bins[top - i] >= target) {
        found[0] = static_cast<Mass>(top - i);
        found[1] = target - above;
        break;
      }
      above += bins[top - i];
    }
  }
  __syncthreads();
  const auto bin = static_cast<uint32_t>(found[0]);
  *left = found[1];
  __syncthreads();
  return bin;
}

// What is known before a pass. The key holds the digits that are found.
__device__ inline SampleState NextDigit(const SampleState& state, const Mass* bins, int pass, Mass target,
                                        Mass* scratch) {
  SampleState next = state;
  Mass left = 0;
  next.key |= FindBin(bins, target, scratch, &left) << DigitShift(pass);
  next.left = left;
  return next;
}

// The mass that top-p has to reach, of the likelihood that top-k has left. The bins of its first pass hold that, and
// besides all tokens of the limit's key, of which top-k may keep only some.
__device__ inline Mass TopPTarget(const SampleRow& row, const SampleState& state, const Mass* bins, Mass at_limit,
                                  float best, Mass* scratch) {
  Mass own = 0;
  for (int i = ThreadIndex(); i < kSampleBins; i += ThreadCount()) own += bins[i];
  Mass total = BlockReduce(own, scratch, Add());
  if (at_limit > state.limit_ties)
    total -= (at_limit - state.limit_ties) * Likelihood(row, ValueOf(state.limit_key), best);
  const double target = ceil(static_cast<double>(row.top_p) * static_cast<double>(total));
  if (target < 1) return 1;
  return target < static_cast<double>(total) ? static_cast<Mass>(target) : total;
}

// The state before `pass` of a row that draws; kSelectPasses: the threshold itself. `states` and `bins` are the row's,
// up to the pass before. Called by all threads of a block, and by every block of the row with the same result.
__device__ inline SampleState StateBefore(int pass, const SampleRow& row, int64_t vocab, float best,
                                          const SampleState* states, const Mass* bins, Mass* scratch) {
  const SampleState start = {0, 0, ~uint64_t{0}, 0};
  const auto bins_of = [&](int of) { return bins + int64_t{of} * kSampleBins; };
  if (pass == 0) {
    SampleState state = start;
    state.left = static_cast<uint64_t>(row.top_k);
    return state;
  }
  if (pass < kTopPFirstPass)
    return NextDigit(states[pass - 1], bins_of(pass - 1), pass - 1, states[pass - 1].left, scratch);
  const bool after_top_p = pass == kSelectPasses && UsesTopP(row);
  if (pass == kTopPFirstPass || (pass == kSelectPasses && !after_top_p)) {
    if (!UsesTopK(row, vocab)) return start;
    constexpr int kLast = kTopKPasses - 1;
    SampleState state = NextDigit(states[kLast], bins_of(kLast), kLast, states[kLast].left, scratch);
    state.limit_key = state.key;
    state.limit_ties = state.left;
    state.key = 0;
    return state;
  }
  const SampleState& last = states[pass - 1];
  Mass target = last.left;
  if (pass - 1 == kTopPFirstPass) {
    const Mass at_limit = UsesTopK(row, vocab) ? bins_of(kTopKPasses - 1)[Digit(last.limit_key, kTopKPasses - 1)] : 0;
    target = TopPTarget(row, last, bins_of(pass - 1), at_limit, best, scratch);
  }
  SampleState state = NextDigit(last, bins_of(pass - 1), pass - 1, target, scratch);
  if (!after_top_p) return state;
  // Tokens at the threshold are taken one by one until the target is reached; the one that reaches it is in.
  const Mass each = Likelihood(row, ValueOf(state.key), best);
  const Mass ties = each > 0 ? (state.left + each - 1) / each : 1;
  state.limit_ties = state.key == last.limit_key && last.limit_ties < ties ? last.limit_ties : ties;
  state.limit_key = state.key;
  return state;
}

}  // namespace hadal::kernels::cuda
