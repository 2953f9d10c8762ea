// SPDX-License-Identifier: Apache-2.0
//
// The choice of a token's experts by one warp.
#pragma once

#include "kernels/cuda/vector.cuh"

namespace hadal::kernels::cuda {

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

// The first of the lanes' candidates; every lane gets it.
__device__ inline Candidate WarpBest(Candidate best) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Candidate other{__shfl_xor_sync(kAllLanes, best.value, distance),
                          __shfl_xor_sync(kAllLanes, best.index, distance)};
    if (Before(other, best)) best = other;
  }
  return best;
}

// The first of values[0..count) that is not taken.
__device__ inline int32_t BestOf(const float* values, const int32_t* taken, int32_t count, int32_t lane) {
  Candidate best{0, -1};
  for (int32_t i = lane; i < count; i += kWarp) {
    const Candidate candidate{values[i], taken[i] != 0 ? -1 : i};
    if (Before(candidate, best)) best = candidate;
  }
  return WarpBest(best).index;
}

// Score of a group: its maximum, or the sum of its two best; NaN is passed over.
__device__ inline float GroupScore(const float* choice, int32_t size, bool by_two) {
  float best = -INFINITY, second = -INFINITY;
  for (int32_t e = 0; e < size; ++e) {
    if (choice[e] > best) {
      second = best;
      best = choice[e];
    } else if (choice[e] > second) {
      second = choice[e];
    }
  }
  return by_two && size >= 2 ? best + second : best;
}

__device__ inline void ScoreExperts(const MoeRouteLaunch& p, const float* logits, float* scores, int32_t lane) {
  const int32_t experts = static_cast<int32_t>(p.experts);
  float largest = -INFINITY, total = 0;
  for (int32_t e = lane; e < experts; e += kWarp) {
    const float logit = __ldcg(logits + e);
    if (p.scoring == MoeScoring::kSigmoid) {
      scores[e] = 1.0f / (1.0f + expf(-logit));
    } else if (p.scoring == MoeScoring::kSqrtSoftplus) {
      scores[e] = sqrtf(logit > 20.0f ? logit : log1pf(expf(logit)));
    } else {
      scores[e] = logit;
      largest = fmaxf(largest, logit);
    }
  }
  if (p.scoring != MoeScoring::kSoftmax) return;
  largest = WarpMax(largest);
  for (int32_t e = lane; e < experts; e += kWarp) total += scores[e] = expf(scores[e] - largest);
  total = WarpSum(total);
  for (int32_t e = lane; e < experts; e += kWarp) scores[e] /= total;
}

// Leaves out the experts of all but the best topk_group groups.
__device__ inline void MaskGroups(const MoeRouteLaunch& p, float* choice, float* groups, int32_t* taken, int32_t lane) {
  const int32_t n_group = static_cast<int32_t>(p.n_group), size = static_cast<int32_t>(p.experts) / n_group;
  for (int32_t g = lane; g < n_group; g += kWarp) {
    groups[g] = GroupScore(choice + g * size, size, p.group_by_two);
    taken[g] = 0;
  }
  __syncwarp();
  for (int32_t i = 0; i < p.topk_group; ++i) {
    const int32_t best = BestOf(groups, taken, n_group, lane);
    if (lane == 0) taken[best] = 1;
    __syncwarp();
  }
  for (int32_t g = 0; g < n_group; ++g) {
    if (taken[g] != 0) continue;
    for (int32_t e = g * size + lane; e < (g + 1) * size; e += kWarp) choice[e] = p.masked_weights ? 0.0f : -INFINITY;
  }
  __syncwarp();
}

// By all lanes of a warp. `memory` is shared and this warp's alone, MoeRouteSharedBytes: scores, choice scores, group
// scores, marks of what is taken, ids.
__device__ inline void RouteToken(const MoeRouteLaunch& p, int64_t token, float* memory) {
  const int32_t experts = static_cast<int32_t>(p.experts), top_k = static_cast<int32_t>(p.top_k);
  const int32_t lane = ThreadIndex() % kWarp;
  float* scores = memory;
  float* choice = scores + experts;
  float* groups = choice + experts;
  int32_t* taken = reinterpret_cast<int32_t*>(groups + p.n_group);  // experts; before that: groups
  int32_t* chosen = taken + experts;
  ScoreExperts(p, static_cast<const float*>(p.logits.data) + token * p.logits.stride[0], scores, lane);
  for (int32_t e = lane; e < experts; e += kWarp) {
    choice[e] = p.correction_bias != nullptr ? scores[e] + p.correction_bias[e] : scores[e];
  }
  __syncwarp();
  if (p.mask_groups) MaskGroups(p, choice, groups, taken, lane);
  for (int32_t e = lane; e < experts; e += kWarp) taken[e] = 0;
  __syncwarp();
  if (p.expert_table != nullptr) {
    const int32_t* given = p.expert_table + int64_t{p.token_ids[token]} * top_k;
    for (int32_t j = lane; j < top_k; j += kWarp) chosen[j] = given[j];
  } else {
    for (int32_t j = 0; j < top_k; ++j) {
      const int32_t best = BestOf(choice, taken, experts, lane);
      if (lane == 0) {
        taken[best] = 1;
        chosen[j] = best;
      }
      __syncwarp();
    }
  }
  __syncwarp();
  const float* from = p.masked_weights ? choice : scores;
  float total = 0;
  for (int32_t j = 0; j < top_k; ++j) total += from[chosen[j]];
  const float divisor = p.norm ? total + 1e-20f : 1.0f;
  for (int32_t j = lane; j < top_k; j += kWarp) {
    p.ids[token * top_k + j] = chosen[j];
    p.weights[token * top_k + j] = from[chosen[j]] / divisor * p.scaling;
  }
}

}  // namespace hadal::kernels::cuda
