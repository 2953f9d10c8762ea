// SPDX-License-Identifier: Apache-2.0
//
// Sampling, one block a row: the steps and their order are those of kernels/ops/sample.h. The thresholds of
// top-k and top-p are found without sorting (top_k_threshold.cuh). Every sum has one order, so a row's result does not
// depend on its neighbours.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/top_k_threshold.cuh"
#include "kernels/ops/philox.h"
#include "kernels/ops/sample_status.h"

namespace hadal::kernels::cuda {
namespace {

struct Token {
  float value;
  int32_t id;  // -1: none
};

// Larger value first, then the lower id. NaN does not occur here.
__device__ inline bool Before(const Token& a, const Token& b) {
  if (a.id < 0 || b.id < 0) return a.id >= 0;
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

struct BestToken {
  __device__ Token operator()(const Token& a, const Token& b) const { return Before(a, b) ? a : b; }
};

// Best token after `previous` in the order of Before; previous.id < 0: the very best.
__device__ Token NextBest(const float* values, int64_t vocab, Token previous, Token* scratch) {
  Token best{0, -1};
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
    const Token token{values[t], static_cast<int32_t>(t)};
    if ((previous.id < 0 || Before(previous, token)) && Before(token, best)) best = token;
  }
  return BlockReduce(best, scratch, BestToken());
}

// 1 if every logit is below +infinity and no NaN, and one is finite.
__device__ bool GoodLogits(const float* logits, int64_t vocab, int32_t* scratch) {
  int32_t bad = 0, finite = 0;
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
    const float value = logits[t];
    if (isnan(value) || value == INFINITY) bad = 1;
    if (isfinite(value)) finite = 1;
  }
  bad = BlockReduce(bad, scratch, Add());
  finite = BlockReduce(finite, scratch, Add());
  return bad == 0 && finite > 0;
}

__device__ void ApplyPenalty(const SampleRow& row, const SampleToken& penalty, float* z) {
  float value = z[penalty.token_id];
  if (penalty.in_prompt != 0 || penalty.output_count > 0) {
    value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
    value = fminf(value, 3.402823466e+38f);
  }
  if (penalty.output_count > 0) {
    value -= row.frequency_penalty * static_cast<float>(penalty.output_count) + row.presence_penalty;
  }
  z[penalty.token_id] = value;
}

// Penalties, bias, mask: logits to z.
__device__ void Adjust(const SampleLaunch& p, const SampleRow& row, const float* logits, int64_t vocab, float* z) {
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) z[t] = logits[t];
  __syncthreads();
  const int64_t first = row.in_order != 0 ? (threadIdx.x == 0 ? 0 : INT64_MAX) : int64_t{threadIdx.x};
  const int64_t step = row.in_order != 0 ? 1 : int64_t{blockDim.x};
  for (int64_t i = first; i < row.penalties; i += step) ApplyPenalty(row, p.tokens[row.first_penalty + i], z);
  __syncthreads();
  for (int64_t i = first; i < row.biases; i += step) {
    const SampleToken& bias = p.tokens[row.first_bias + i];
    z[bias.token_id] += bias.bias;
  }
  __syncthreads();
  if (row.first_mask_word >= 0) {
    const uint32_t* mask = p.mask_words + row.first_mask_word;
    for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
      if ((mask[t / 32] >> (t % 32) & 1u) == 0) z[t] = -INFINITY;
    }
  }
  __syncthreads();
}

// Zeroes the likelihood of tokens that the threshold excludes.
__device__ void ApplyThreshold(const float* z, int64_t vocab, const Threshold& threshold, double* likelihood,
                               int64_t* scratch) {
  const int64_t begin = ChunkBegin(vocab, threadIdx.x), end = ChunkBegin(vocab, threadIdx.x + 1);
  int64_t ties = 0, all = 0;
  for (int64_t t = begin; t < end; ++t) ties += Key(z[t]) == threshold.key ? 1 : 0;
  ties = BlockExclusiveSum(ties, scratch, &all);
  for (int64_t t = begin; t < end; ++t) {
    const uint32_t key = Key(z[t]);
    const bool tie = key == threshold.key;
    if (key < threshold.key || (tie && ties >= threshold.ties)) likelihood[t] = 0;
    if (tie) ++ties;
  }
  __syncthreads();
}

__device__ double SumAbove(const float* z, const double* likelihood, int64_t vocab, uint32_t bound, double* scratch) {
  double sum = 0;
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) sum += Key(z[t]) > bound ? likelihood[t] : 0.0;
  return BlockReduce(sum, scratch, Add());
}

// Keeps the best tokens whose likelihood reaches the share top_p of the whole; the token that reaches it is in.
__device__ Threshold TopPThreshold(const float* z, const double* likelihood, int64_t vocab, double top_p,
                                   double* scratch) {
  double total = 0;
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) total += likelihood[t];
  total = BlockReduce(total, scratch, Add());
  const double target = top_p * total;
  uint32_t low = 0, high = 0xFFFFFFFFu;  // smallest bound above which less than the target lies
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (SumAbove(z, likelihood, vocab, middle, scratch) < target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  // At the bound itself, tokens are taken one by one until the target is reached.
  const double above = SumAbove(z, likelihood, vocab, high, scratch);
  double each = 0;
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
    if (Key(z[t]) == high && likelihood[t] > each) each = likelihood[t];
  }
  scratch[threadIdx.x] = each;
  __syncthreads();
  for (unsigned i = 0; i < blockDim.x; ++i) each = scratch[i] > each ? scratch[i] : each;
  __syncthreads();
  const double ties = each > 0 ? ceil((target - above) / each) : 1;
  return Threshold{high, ties < 1 ? 1 : ties > static_cast<double>(vocab) ? vocab : static_cast<int64_t>(ties)};
}

// Inverse of the cumulative distribution in id order.
__device__ int32_t DrawToken(const double* likelihood, int64_t vocab, double uniform, double* scratch,
                             int32_t* result) {
  const int64_t begin = ChunkBegin(vocab, threadIdx.x), end = ChunkBegin(vocab, threadIdx.x + 1);
  double own = 0;
  for (int64_t t = begin; t < end; ++t) own += likelihood[t];
  scratch[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x == 0) {
    double total = 0;
    for (unsigned i = 0; i < blockDim.x; ++i) total += scratch[i];
    const double target = uniform * total;
    // The chunk in which the sum passes the target; rounding may leave none, then the last chunk with any likelihood.
    double sum = 0;
    int64_t chunk = -1;
    for (int64_t i = 0; i < blockDim.x; ++i) {
      if (scratch[i] > 0) chunk = i;
      if (scratch[i] > 0 && sum + scratch[i] > target) break;
      if (i + 1 < blockDim.x) sum += scratch[i];
    }
    int32_t token = -1;
    if (chunk >= 0) {
      double before = 0;
      for (int64_t i = 0; i < chunk; ++i) before += scratch[i];
      for (int64_t t = ChunkBegin(vocab, chunk); t < ChunkBegin(vocab, chunk + 1); ++t) {
        if (likelihood[t] <= 0) continue;
        token = static_cast<int32_t>(t);
        before += likelihood[t];
        if (before > target) break;
      }
    }
    *result = token;
  }
  __syncthreads();
  const int32_t token = *result;
  __syncthreads();
  return token;
}

__device__ int32_t Draw(const SampleRow& row, const float* z, int64_t vocab, float best, double* likelihood,
                        unsigned char* scratch, int32_t* result) {
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
    likelihood[t] = exp((static_cast<double>(z[t]) - static_cast<double>(best)) / static_cast<double>(row.temperature));
  }
  __syncthreads();
  int64_t* counts = reinterpret_cast<int64_t*>(scratch);
  double* sums = reinterpret_cast<double*>(scratch);
  if (row.top_k > 0 && row.top_k < vocab)
    ApplyThreshold(z, vocab, TopKThreshold(z, vocab, row.top_k, counts), likelihood, counts);
  if (row.top_p < 1) ApplyThreshold(z, vocab, TopPThreshold(z, likelihood, vocab, row.top_p, sums), likelihood, counts);
  if (row.min_p > 0) {
    for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
      if (likelihood[t] < static_cast<double>(row.min_p)) likelihood[t] = 0;
    }
    __syncthreads();
  }
  return DrawToken(likelihood, vocab, SampleUniform(row.seed, row.random_counter), sums, result);
}

__global__ void SampleKernel(SampleLaunch p) {
  unsigned char* scratch = SharedMemory() + 16;  // 8 bytes a thread
  int32_t* result = reinterpret_cast<int32_t*>(SharedMemory());
  Token* token_scratch = reinterpret_cast<Token*>(scratch);
  const int64_t index = blockIdx.x, vocab = p.logits.size[1];
  const float* logits = static_cast<const float*>(p.logits.data) + index * p.logits.stride[0];
  const SampleRow row = p.rows[index];
  float* z = p.adjusted + index * vocab;

  int32_t status = kSampleOk, token = -1;
  if (!GoodLogits(logits, vocab, reinterpret_cast<int32_t*>(scratch))) {
    status = kSampleBadLogits;
  } else if (row.target_token >= 0) {
    token = row.target_token;
  } else {
    Adjust(p, row, logits, vocab, z);
    const Token best = NextBest(z, vocab, Token{0, -1}, token_scratch);
    if (best.value == -INFINITY) {
      status = kSampleNothingAllowed;
    } else {
      token = row.temperature == 0 ? best.id
                                   : Draw(row, z, vocab, best.value, p.likelihood + index * vocab, scratch, result);
    }
  }
  if (threadIdx.x == 0) {
    p.out_status[index] = status;
    p.out_tokens[index] = token;
    p.out_logprobs[index] = 0;
  }
  for (int64_t j = threadIdx.x; j < p.top_columns; j += blockDim.x) {
    p.out_top_tokens[index * p.top_columns + j] = -1;
    p.out_top_logprobs[index * p.top_columns + j] = 0;
  }
  __syncthreads();
  if (status != kSampleOk || row.top_logprobs < 0) return;  // the same for all threads

  Token best = NextBest(logits, vocab, Token{0, -1}, token_scratch);
  double sum = 0;
  for (int64_t t = threadIdx.x; t < vocab; t += blockDim.x) {
    sum += exp(static_cast<double>(logits[t]) - static_cast<double>(best.value));
  }
  sum = BlockReduce(sum, reinterpret_cast<double*>(scratch), Add());
  const double normaliser = static_cast<double>(best.value) + log(sum);
  if (threadIdx.x == 0) p.out_logprobs[index] = static_cast<float>(static_cast<double>(logits[token]) - normaliser);
  for (int64_t j = 0; j < row.top_logprobs && j < vocab; ++j) {
    if (threadIdx.x == 0) {
      p.out_top_tokens[index * p.top_columns + j] = best.id;
      p.out_top_logprobs[index * p.top_columns + j] = static_cast<float>(static_cast<double>(best.value) - normaliser);
    }
    if (j + 1 < row.top_logprobs && j + 1 < vocab) best = NextBest(logits, vocab, best, token_scratch);
  }
}

}  // namespace

int SampleThreads(int64_t vocab) {
  int threads = 32;
  while (threads < 512 && int64_t{threads} * 16 < vocab) threads *= 2;
  return threads;
}

int LaunchSample(Stream stream, const SampleLaunch& p) {
  const int threads = SampleThreads(p.logits.size[1]);
  return Launch(stream, SampleKernel, p.logits.size[0], threads, 16 + threads * int64_t{sizeof(double)}, p);
}

}  // namespace hadal::kernels::cuda
