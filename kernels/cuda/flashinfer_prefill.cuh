// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer's attention of prompts for Hopper (FA3 form, causal) for one type, with keys and values that lie sequence
// after sequence. Each .cu file that includes this makes one instance.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

// Before the kernels, which name the modes of masks.
#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>
#include <flashinfer/attention/mask.cuh>

#include "kernels/cuda/flashinfer_hopper.h"

namespace hadal::kernels::cuda {

template <typename T>
cudaError_t RunFlashPrefillAs(cudaStream_t stream, const FlashPrefillLaunch& p, const FlashPrefillPlan& plan) {
  using Params = ::flashinfer::BatchPrefillRaggedParams<T, T, T, int32_t>;
  const auto data = [](const void* pointer) { return static_cast<T*>(const_cast<void*>(pointer)); };
  const auto at = [&p](int64_t offset) {
    return reinterpret_cast<int32_t*>(static_cast<char*>(const_cast<void*>(p.lists)) + offset);
  };
  Params params = {};
  params.q_ptr = data(p.q);
  params.k_ptr = data(p.keys);
  params.v_ptr = data(p.v);
  params.o_ptr = static_cast<T*>(p.out);
  params.lse_ptr = nullptr;
  params.qo_tile_indices = at(plan.query_tile);
  params.qo_indptr = at(plan.query_first);
  params.kv_indptr = at(plan.key_first);
  params.qo_lens = at(plan.query_count);
  params.kv_lens = at(plan.key_count);
  params.head_indices = at(plan.head);
  params.work_indptr = at(plan.first_work);
  params.batch_indices = at(plan.sequence);
  params.additional_params.sm_scale = p.scale;
  params.q_stride_n = p.q_token;
  params.q_stride_h = p.q_head;
  params.k_stride_n = p.heads * kFlashPrefillKey;
  params.k_stride_h = kFlashPrefillKey;
  params.v_stride_n = p.v_token;
  params.v_stride_h = p.v_head;
  params.o_stride_n = p.out_token;
  params.o_stride_h = p.out_head;
  params.nnz_qo = p.tokens;
  params.nnz_kv = p.kv_tokens;
  params.num_qo_heads = static_cast<int>(p.heads);
  params.num_kv_heads = static_cast<int>(p.heads);  // keys and values are expanded for every head
  params.group_size = 1;
  params.window_left = -1;
  params.causal = true;
  return ::flashinfer::BatchPrefillWithRaggedKVCacheDispatched<
      kFlashPrefillKey, kFlashPrefillValue, ::flashinfer::MaskMode::kCausal, /*LEFT_SLIDING_WINDOW=*/false,
      /*SAME_SCHEDULE_FOR_ALL_HEADS=*/false, ::flashinfer::StandardAttention>(params, /*enable_pdl=*/false, stream);
}

}  // namespace hadal::kernels::cuda
