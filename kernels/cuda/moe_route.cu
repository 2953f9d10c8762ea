// SPDX-License-Identifier: Apache-2.0
//
// The choice of experts. Results do not depend on timing: no atomics.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kRouteThreads = 128;

// Larger first, NaN after every number, then the lower index.
struct Candidate {
  float value;
  int32_t index;  // -1: none
};

__device__ inline bool Before(const Candidate& a, const Candidate& b) {
  if (a.index < 0 || b.index < 0) return a.index >= 0;
  const bool a_nan = isnan(a.value), b_nan = isnan(b.value);
  if (a_nan != b_nan) return b_nan;
  if (!a_nan && a.value != b.value) return a.value > b.value;
  return a.index < b.index;
}

struct Best {
  __device__ Candidate operator()(const Candidate& a, const Candidate& b) const { return Before(a, b) ? a : b; }
};

// Score of a group: its maximum, or the sum of its two best; NaN is passed over.
__device__ float GroupScore(const float* choice, int64_t size, bool by_two) {
  float best = -INFINITY, second = -INFINITY;
  for (int64_t e = 0; e < size; ++e) {
    if (choice[e] > best) {
      second = best;
      best = choice[e];
    } else if (choice[e] > second) {
      second = choice[e];
    }
  }
  return by_two && size >= 2 ? best + second : best;
}

// One block a token. Shared: scratch of the reductions, scores, choice scores, group scores, chosen marks, ids.
__global__ void MoeRouteKernel(MoeRouteLaunch p) {
  Candidate* scratch = reinterpret_cast<Candidate*>(SharedMemory());
  float* float_scratch = reinterpret_cast<float*>(scratch);
  float* scores = reinterpret_cast<float*>(scratch + kRouteThreads);
  float* choice = scores + p.experts;
  float* groups = choice + p.experts;
  int32_t* taken = reinterpret_cast<int32_t*>(groups + p.n_group);  // experts; before that: groups
  int32_t* chosen = taken + p.experts;
  const int64_t token = blockIdx.x;
  const float* logits = static_cast<const float*>(p.logits.data) + token * p.logits.stride[0];

  if (p.scoring == MoeScoring::kSigmoid) {
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) scores[e] = 1.0f / (1.0f + expf(-logits[e]));
  } else if (p.scoring == MoeScoring::kSqrtSoftplus) {
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
      scores[e] = sqrtf(logits[e] > 20.0f ? logits[e] : log1pf(expf(logits[e])));
    }
  } else {
    float largest = -INFINITY, total = 0;
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) largest = fmaxf(largest, logits[e]);
    largest = BlockReduce(largest, float_scratch, Larger());
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) total += scores[e] = expf(logits[e] - largest);
    total = BlockReduce(total, float_scratch, Add());
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) scores[e] /= total;
  }
  for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
    choice[e] = p.correction_bias != nullptr ? scores[e] + p.correction_bias[e] : scores[e];
  }
  __syncthreads();

  if (p.mask_groups) {
    const int64_t size = p.experts / p.n_group;
    for (int64_t g = threadIdx.x; g < p.n_group; g += blockDim.x) {
      groups[g] = GroupScore(choice + g * size, size, p.group_by_two);
      taken[g] = 0;
    }
    __syncthreads();
    for (int64_t i = 0; i < p.topk_group; ++i) {
      Candidate best{0, -1};
      for (int64_t g = threadIdx.x; g < p.n_group; g += blockDim.x) {
        const Candidate candidate{groups[g], taken[g] != 0 ? -1 : static_cast<int32_t>(g)};
        if (Before(candidate, best)) best = candidate;
      }
      best = BlockReduce(best, scratch, Best());
      if (threadIdx.x == 0) taken[best.index] = 1;
      __syncthreads();
    }
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
      if (taken[e / size] == 0) choice[e] = p.masked_weights ? 0.0f : -INFINITY;
    }
    __syncthreads();
  }

  for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) taken[e] = 0;
  __syncthreads();
  const int32_t* given = p.expert_table != nullptr ? p.expert_table + int64_t{p.token_ids[token]} * p.top_k : nullptr;
  if (given != nullptr) {
    for (int64_t j = threadIdx.x; j < p.top_k; j += blockDim.x) chosen[j] = given[j];
    __syncthreads();
  }
  for (int64_t j = 0; given == nullptr && j < p.top_k; ++j) {
    Candidate best{0, -1};
    for (int64_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
      const Candidate candidate{choice[e], taken[e] != 0 ? -1 : static_cast<int32_t>(e)};
      if (Before(candidate, best)) best = candidate;
    }
    best = BlockReduce(best, scratch, Best());
    if (threadIdx.x == 0) {
      taken[best.index] = 1;
      chosen[j] = best.index;
    }
    __syncthreads();
  }
  const float* from = p.masked_weights ? choice : scores;
  float total = 0;
  for (int64_t j = 0; j < p.top_k; ++j) total += from[chosen[j]];
  const float divisor = p.norm ? total + 1e-20f : 1.0f;
  for (int64_t j = threadIdx.x; j < p.top_k; j += blockDim.x) {
    p.ids[token * p.top_k + j] = chosen[j];
    p.weights[token * p.top_k + j] = from[chosen[j]] / divisor * p.scaling;
  }
}

}  // namespace

int64_t MoeRouteSharedBytes(int64_t experts, int64_t groups, int64_t top_k) {
  return kRouteThreads * int64_t{sizeof(Candidate)} + (3 * experts + groups + top_k) * int64_t{sizeof(float)};
}

int LaunchMoeRoute(Stream stream, const MoeRouteLaunch& p) {
  return Launch(stream, MoeRouteKernel, p.tokens, kRouteThreads, MoeRouteSharedBytes(p.experts, p.n_group, p.top_k), p);
}

}  // namespace hadal::kernels::cuda
