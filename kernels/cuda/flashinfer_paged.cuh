// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer's paged attention (FA2 form, causal) for one type and head size. Decode tokens are prefill chunks of
// length 1: the query heads of a group share a tile, so one kernel serves both. Each .cu file that includes this makes
// one instance.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <exception>
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/scheduler.cuh>

#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

// The fixed plan in FlashInfer's terms.
inline ::flashinfer::PrefillPlanInfo FixedPlanOf(const FlashPagedLaunch& p) {
  ::flashinfer::PrefillPlanInfo plan;
  plan.padded_batch_size = p.fixed.tiles;
  plan.total_num_rows = p.tokens;
  plan.cta_tile_q = kFlashFixedTile;
  plan.request_indices_offset = p.fixed.sequence;
  plan.qo_tile_indices_offset = p.fixed.query_tile;
  plan.kv_tile_indices_offset = p.fixed.key_tile;
  plan.o_indptr_offset = p.fixed.first_row;
  plan.kv_chunk_size_ptr_offset = p.fixed.chunk;
  return plan;
}

template <typename T, uint32_t kHeadDim>
cudaError_t RunFlashPagedAs(cudaStream_t stream, const FlashPagedLaunch& p) {
  using Params = ::flashinfer::BatchPrefillPagedParams<T, T, T, int32_t>;
  using Variant = ::flashinfer::DefaultAttention</*custom_mask=*/false, /*sliding_window=*/false, /*soft_cap=*/false,
                                                 /*alibi=*/false>;
  ::flashinfer::PrefillPlanInfo plan;
  if (p.fixed.tiles > 0) {
    plan = FixedPlanOf(p);
  } else {
    const cudaError_t planned = ::flashinfer::PrefillPlan<int32_t>(
        p.float_workspace, static_cast<size_t>(p.float_bytes), p.int_workspace, p.host_int_workspace,
        static_cast<size_t>(p.int_bytes), plan, const_cast<int32_t*>(p.host_query_start),
        const_cast<int32_t*>(p.host_first_page), static_cast<uint32_t>(p.tokens), static_cast<uint32_t>(p.sequences),
        static_cast<uint32_t>(p.heads), static_cast<uint32_t>(p.kv_heads), kHeadDim, kHeadDim,
        static_cast<uint32_t>(p.block_tokens), /*enable_cuda_graph=*/false, sizeof(T), /*window_left=*/-1,
        /*fixed_split_size=*/-1, /*disable_split_kv=*/false, /*num_colocated_ctas=*/0,
        /*uniform_q_len=*/0, stream);
    if (planned != cudaSuccess) return planned;
  }

  const ::flashinfer::paged_kv_t<T, int32_t> pages(
      static_cast<uint32_t>(p.kv_heads), static_cast<uint32_t>(p.block_tokens), kHeadDim,
      static_cast<uint32_t>(p.sequences), ::flashinfer::QKVLayout::kNHD, static_cast<T*>(const_cast<void*>(p.k)),
      static_cast<T*>(const_cast<void*>(p.v)), p.k_strides, p.v_strides, const_cast<int32_t*>(p.page_indices),
      const_cast<int32_t*>(p.first_page), const_cast<int32_t*>(p.last_page_tokens));
  Params params(static_cast<T*>(const_cast<void*>(p.q)), pages, /*maybe_custom_mask=*/nullptr,
                const_cast<int32_t*>(p.query_start), /*maybe_mask_indptr=*/nullptr, /*maybe_q_rope_offset=*/nullptr,
                static_cast<T*>(p.out), /*lse=*/nullptr, /*maybe_alibi_slopes=*/nullptr, static_cast<uint32_t>(p.heads),
                static_cast<int32_t>(p.q_token), static_cast<int32_t>(p.q_head), /*window_left=*/-1,
                /*logits_soft_cap=*/0.0f, p.scale, /*rope_scale=*/1.0f, /*rope_theta=*/1e4f);
  const auto at = [&p](int64_t offset) { return ::flashinfer::GetPtrFromBaseOffset<int32_t>(p.int_workspace, offset); };
  params.request_indices = at(plan.request_indices_offset);
  params.qo_tile_indices = at(plan.qo_tile_indices_offset);
  params.kv_tile_indices = at(plan.kv_tile_indices_offset);
  params.o_indptr = at(plan.o_indptr_offset);
  params.kv_chunk_size_ptr = at(plan.kv_chunk_size_ptr_offset);
  params.padded_batch_size = static_cast<uint32_t>(plan.padded_batch_size);
  params.max_total_num_rows = static_cast<uint32_t>(plan.total_num_rows);
  T* partial_out = nullptr;
  float* partial_sums = nullptr;
  if (plan.split_kv) {
    params.merge_indptr = at(plan.merge_indptr_offset);
    partial_out = ::flashinfer::GetPtrFromBaseOffset<T>(p.float_workspace, plan.v_offset);
    partial_sums = ::flashinfer::GetPtrFromBaseOffset<float>(p.float_workspace, plan.s_offset);
  }
#define HADAL_RUN_TILE(tile)                                                                                        \
  ::flashinfer::BatchPrefillWithPagedKVCacheDispatched<                                                             \
      /*SAME_KV_STRIDES=*/false, tile, kHeadDim, kHeadDim, ::flashinfer::PosEncodingMode::kNone,                    \
      /*USE_FP16_QK_REDUCTION=*/false, ::flashinfer::MaskMode::kCausal, Variant>(params, partial_out, partial_sums, \
                                                                                 /*enable_pdl=*/false, stream)
  switch (plan.cta_tile_q) {
    case 16:
      return HADAL_RUN_TILE(16);
    case 64:
      return HADAL_RUN_TILE(64);
    case 128:
      return HADAL_RUN_TILE(128);
    default:
      return cudaErrorNotSupported;
  }
#undef HADAL_RUN_TILE
}

// The instances, one a file.
cudaError_t RunFlashPagedBf16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch);
cudaError_t RunFlashPagedBf16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch);
cudaError_t RunFlashPagedF16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch);
cudaError_t RunFlashPagedF16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch);

}  // namespace hadal::kernels::cuda
