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

template <typename T, uint32_t kHeadDim>
cudaError_t RunFlashPagedAs(cudaStream_t stream, const FlashPagedLaunch& p, const FlashPagedPlan& plan) {
  using Params = ::flashinfer::BatchPrefillPagedParams<T, T, T, int32_t>;
  using Variant = ::flashinfer::DefaultAttention</*custom_mask=*/false, /*sliding_window=*/false, /*soft_cap=*/false,
                                                 /*alibi=*/false>;
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
  params.request_indices = at(plan.sequence);
  params.qo_tile_indices = at(plan.query_tile);
  params.kv_tile_indices = at(plan.key_tile);
  params.o_indptr = at(plan.first_row);
  params.kv_chunk_size_ptr = at(plan.chunk);
  params.padded_batch_size = static_cast<uint32_t>(plan.tiles);
  params.max_total_num_rows = static_cast<uint32_t>(p.tokens);
  if (plan.valid_tiles >= 0) {  // a replayed launch has more blocks than tiles, and fewer rows than were captured
    params.block_valid_mask = ::flashinfer::GetPtrFromBaseOffset<bool>(p.int_workspace, plan.valid_tiles);
    params.total_num_rows = ::flashinfer::GetPtrFromBaseOffset<uint32_t>(p.int_workspace, plan.row_count);
  }
  T* partial_out = nullptr;
  float* partial_sums = nullptr;
  if (plan.split) {
    params.merge_indptr = at(plan.merge_first);
    partial_out = ::flashinfer::GetPtrFromBaseOffset<T>(p.float_workspace, plan.partial_sums);
    partial_sums = ::flashinfer::GetPtrFromBaseOffset<float>(p.float_workspace, plan.partial_logarithms);
  }
#define HADAL_RUN_TILE(tile)                                                                                        \
  ::flashinfer::BatchPrefillWithPagedKVCacheDispatched<                                                             \
      /*SAME_KV_STRIDES=*/false, tile, kHeadDim, kHeadDim, ::flashinfer::PosEncodingMode::kNone,                    \
      /*USE_FP16_QK_REDUCTION=*/false, ::flashinfer::MaskMode::kCausal, Variant>(params, partial_out, partial_sums, \
                                                                                 /*enable_pdl=*/false, stream)
  switch (plan.tile_rows) {
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
cudaError_t RunFlashPagedBf16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedBf16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedF16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedF16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);

}  // namespace hadal::kernels::cuda
