// SPDX-License-Identifier: Apache-2.0
//
// Stands in for FlashInfer and CUTLASS in the emulator. CUTLASS is not there. FlashInfer is when a test asks for it
// (Control::flashinfer): plain loops that know of a call only what FlashInfer's kernels know, so lists, strides and
// plans are checked, its own among them in form; its kernels and its way to split keys are not.
#include "kernels/cuda/flashinfer.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <vector>

#include "kernels/cuda/cutlass_grouped.h"
#include "kernels/cuda/flash_plan.h"
#include "kernels/cuda/flashinfer_hopper.h"
#include "kernels/half.h"
#include "tests/kernels/cuda/emulator/control.h"

namespace hadal::kernels::cuda {
namespace {

using cuda_emulator::TheDevice;

float Load(DType dtype, const void* data, int64_t index) {
  if (dtype == DType::kBF16) return ToFloat(static_cast<const BF16*>(data)[index]);
  return ToFloat(static_cast<const F16*>(data)[index]);
}

void Store(DType dtype, void* data, int64_t index, float value) {
  if (dtype == DType::kBF16) {
    static_cast<BF16*>(data)[index] = ToBF16(value);
  } else {
    static_cast<F16*>(data)[index] = ToF16(value);
  }
}

// out[d] = sum over keys of softmax(score) times value[d].
void Attend(int64_t keys, int64_t width, const std::function<float(int64_t)>& score,
            const std::function<float(int64_t, int64_t)>& value, const std::function<void(int64_t, float)>& out) {
  std::vector<double> weights(keys);
  double largest = -INFINITY, sum = 0;
  for (int64_t k = 0; k < keys; ++k) largest = std::max(largest, weights[k] = score(k));
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  for (int64_t d = 0; d < width; ++d) {
    double total = 0;
    for (int64_t k = 0; k < keys; ++k) total += weights[k] * value(k, d);
    out(d, keys == 0 ? 0.0f : static_cast<float>(total / sum));
  }
}

const int32_t* ListAt(const void* workspace, int64_t offset) {
  return reinterpret_cast<const int32_t*>(static_cast<const char*>(workspace) + offset);
}

}  // namespace

bool HaveCutlass() { return false; }
int LaunchCutlassGrouped(Stream, const CutlassGroupedLaunch&) { return cudaErrorInvalidValue; }

bool HaveFlashInfer() { return TheDevice().flashinfer; }

int SplitFlashPaged(const FlashPagedLaunch& p, int64_t, bool replayed, FlashPagedSplit* split, std::string*) {
  ++TheDevice().plans;
  split->tile_rows = 16;
  split->first_row.assign(p.host_query_start, p.host_query_start + p.sequences + 1);
  for (int64_t s = 0; s < p.sequences; ++s) {
    split->sequence.push_back(static_cast<int32_t>(s));
    split->query_tile.push_back(0);
    split->key_tile.push_back(0);
  }
  // As FlashInfer's, a plan that is replayed has more tiles than the lists hold, and is split.
  split->padded_tiles = replayed ? p.sequences + 2 : 0;
  split->split = replayed;
  split->merge_first.resize(p.tokens + 1);
  return cudaSuccess;
}

namespace {

void ComputeFlashPaged(const FlashPagedLaunch& p, const FlashPagedPlan& plan) {
  const int32_t* first_row = ListAt(p.int_workspace, plan.first_row);
  for (int64_t s = 0; s < p.sequences; ++s) {
    if (first_row[s] != p.query_start[s]) std::abort();  // the plan of another batch
    const int64_t pages = p.first_page[s + 1] - p.first_page[s], queries = p.query_start[s + 1] - p.query_start[s];
    const int64_t context = pages == 0 ? 0 : (pages - 1) * p.block_tokens + p.last_page_tokens[s];
    const auto at = [&](int64_t key, int64_t head, const int64_t* strides) {
      const int64_t page = p.page_indices[p.first_page[s] + key / p.block_tokens];
      return page * strides[0] + key % p.block_tokens * strides[1] + head * strides[2];
    };
    for (int64_t i = 0; i < queries * p.heads; ++i) {
      const int64_t row = first_row[s] + i / p.heads, head = i % p.heads, kv_head = head / (p.heads / p.kv_heads);
      Attend(
          context - queries + i / p.heads + 1, p.head_dim,
          [&](int64_t key) {
            float dot = 0;
            for (int64_t d = 0; d < p.head_dim; ++d) {
              dot += Load(p.dtype, p.q, row * p.q_token + head * p.q_head + d) *
                     Load(p.dtype, p.k, at(key, kv_head, p.k_strides) + d);
            }
            return dot * p.scale;
          },
          [&](int64_t key, int64_t d) { return Load(p.dtype, p.v, at(key, kv_head, p.v_strides) + d); },
          [&](int64_t d, float value) { Store(p.dtype, p.out, (row * p.heads + head) * p.head_dim + d, value); });
    }
  }
}

}  // namespace

int RunFlashPaged(Stream, const FlashPagedLaunch& p, const FlashPagedPlan& plan, std::string*) {
  cuda_emulator::Enqueue([p, plan] { ComputeFlashPaged(p, plan); });
  return cudaSuccess;
}

// One group of blocks a sequence, whose tiles see all of their keys; with room between the lists, as FlashInfer leaves.
int PlanFlashMlaRun(const FlashMlaLaunch& p, int64_t, FlashMlaPlan* plan, std::vector<int32_t>* ints, std::string*) {
  ++TheDevice().plans;
  std::vector<int32_t> q_first, kv_first, q_len, kv_len, q_start, kv_start, kv_end, first_work = {0};
  for (int64_t s = 0; s < p.sequences; ++s) {
    const int32_t queries = p.host_query_start[s + 1] - p.host_query_start[s];
    for (int64_t row = 0; row < queries * p.heads; row += kFlashMlaTile) {
      q_first.push_back(p.host_query_start[s]);
      kv_first.push_back(p.host_first_page[s]);
      q_len.push_back(queries);
      kv_len.push_back(p.host_context_lens[s]);
      q_start.push_back(static_cast<int32_t>(row));
      kv_start.push_back(0);
      kv_end.push_back(p.host_context_lens[s]);
    }
    first_work.push_back(static_cast<int32_t>(q_first.size()));
  }
  *plan = FlashMlaPlan();
  plan->blocks_x = 2;
  plan->blocks_y = p.sequences;
  const std::vector<int32_t> whole(q_first.size(), -1), none(2 * p.sequences, 0);
  const auto add = [&](const std::vector<int32_t>& list) {
    const int64_t at = AppendList(list, *ints);
    ints->resize(ints->size() + 100, 0x5A5A5A5A);
    return at;
  };
  plan->q_first = add(q_first);
  plan->kv_first = add(kv_first);
  plan->partial_first = add(whole);
  plan->q_len = add(q_len);
  plan->kv_len = add(kv_len);
  plan->q_start = add(q_start);
  plan->kv_start = add(kv_start);
  plan->kv_end = add(kv_end);
  plan->first_work = add(first_work);
  for (int64_t* list : {&plan->merge_start, &plan->merge_end, &plan->merge_partial_start, &plan->merge_partial_end,
                        &plan->merge_stride}) {
    *list = add(none);
  }
  return cudaSuccess;
}

namespace {

void ComputeFlashMla(const FlashMlaLaunch& p, const FlashMlaPlan& plan) {
  const auto list = [&](int64_t offset) { return ListAt(p.int_workspace, offset); };
  const int64_t pieces = list(plan.first_work)[plan.blocks_y];
  for (int64_t w = 0; w < pieces; ++w) {
    const int64_t queries = list(plan.q_len)[w], context = list(plan.kv_len)[w], begin = list(plan.kv_start)[w];
    const int64_t first = list(plan.q_start)[w], end = std::min(first + 64 * plan.blocks_x, queries * p.heads);
    const int32_t* page_of = p.page_indices + list(plan.kv_first)[w];
    const auto at = [&](int64_t key) {
      return int64_t{page_of[key / p.block_tokens]} * p.cache_block + key % p.block_tokens * p.cache_token;
    };
    for (int64_t i = first; i < end; ++i) {
      const int64_t row = list(plan.q_first)[w] + i / p.heads, head = i % p.heads;
      const int64_t seen = std::min<int64_t>(list(plan.kv_end)[w], context - queries + i / p.heads + 1);
      Attend(
          std::max<int64_t>(seen - begin, 0), kFlashMlaLatent,
          [&](int64_t key) {
            float dot = 0;
            for (int64_t d = 0; d < kFlashMlaLatent; ++d) {
              dot += Load(p.dtype, p.q_lat, row * p.q_lat_token + head * p.q_lat_head + d) *
                     Load(p.dtype, p.cache, at(begin + key) + d);
            }
            for (int64_t d = 0; d < kFlashMlaRope; ++d) {
              dot += Load(p.dtype, p.q_pe, row * p.q_pe_token + head * p.q_pe_head + d) *
                     Load(p.dtype, p.rope_key, at(begin + key) + d);
            }
            return dot * p.scale;
          },
          [&](int64_t key, int64_t d) { return Load(p.dtype, p.cache, at(begin + key) + d); },
          [&](int64_t d, float value) { Store(p.dtype, p.out, row * p.out_token + head * p.out_head + d, value); });
    }
  }
}

}  // namespace

int RunFlashMla(Stream, const FlashMlaLaunch& p, const FlashMlaPlan& plan, std::string*) {
  cuda_emulator::Enqueue([p, plan] { ComputeFlashMla(p, plan); });
  return cudaSuccess;
}

bool HaveFlashHopper() { return TheDevice().flashinfer; }

namespace {

// Block by block what the lists give it. Each row of each head must be there once, so it is marked before.
void ComputeFlashPrefill(const FlashPrefillLaunch& p, const FlashPrefillPlan& plan, int64_t blocks, float wrong) {
  const auto list = [&](int64_t offset) { return ListAt(p.lists, offset); };
  std::vector<bool> done(static_cast<size_t>(p.tokens * p.heads), false);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t w = list(plan.first_work)[b]; w < list(plan.first_work)[b + 1]; ++w) {
      const int64_t queries = list(plan.query_count)[w], keys = list(plan.key_count)[w], head = list(plan.head)[w];
      const int64_t begin = list(plan.query_tile)[w] * kFlashPrefillTile, key_first = list(plan.key_first)[w];
      for (int64_t i = begin; i < std::min(begin + kFlashPrefillTile, queries); ++i) {
        const int64_t row = list(plan.query_first)[w] + i;
        if (done[static_cast<size_t>(row * p.heads + head)]) std::abort();
        done[static_cast<size_t>(row * p.heads + head)] = true;
        Attend(
            keys - queries + i + 1, kFlashPrefillValue,
            [&](int64_t key) {
              float dot = 0;
              for (int64_t d = 0; d < kFlashPrefillKey; ++d) {
                dot += Load(p.dtype, p.q, row * p.q_token + head * p.q_head + d) *
                       Load(p.dtype, p.keys, ((key_first + key) * p.heads + head) * kFlashPrefillKey + d);
              }
              return dot * p.scale;
            },
            [&](int64_t key, int64_t d) {
              return Load(p.dtype, p.v, (key_first + key) * p.v_token + head * p.v_head + d);
            },
            [&](int64_t d, float value) {
              Store(p.dtype, p.out, row * p.out_token + head * p.out_head + d, value * wrong);
            });
      }
    }
  }
}

}  // namespace

int RunFlashPrefill(Stream, const FlashPrefillLaunch& p, const FlashPrefillPlan& plan, std::string*) {
  ++TheDevice().hopper_calls;
  if (TheDevice().error_on_hopper != 0) return TheDevice().error_on_hopper;
  cuda_emulator::Enqueue(
      [p, plan, blocks = TheDevice().context_multiprocessors, wrong = TheDevice().wrong_on_hopper ? 2.0f : 1.0f] {
        ComputeFlashPrefill(p, plan, blocks, wrong);
      });
  return cudaSuccess;
}

int RunFlashMlaHopper(Stream stream, const FlashMlaLaunch& p, const FlashMlaPlan& plan, std::string* message) {
  ++TheDevice().hopper_calls;
  if (TheDevice().error_on_hopper != 0) return TheDevice().error_on_hopper;
  FlashMlaLaunch launch = p;
  if (TheDevice().wrong_on_hopper) launch.scale *= -3;
  return RunFlashMla(stream, launch, plan, message);
}

}  // namespace hadal::kernels::cuda
