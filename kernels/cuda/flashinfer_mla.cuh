// SPDX-License-Identifier: Apache-2.0
//
// A launch of multi-head latent attention in FlashInfer's terms (causal, latent 512 + rope 64), for one type: its
// kernels for all GPUs (flashinfer_mla_*.cu) and for Hopper (flashinfer_mla_hopper_*.cu) take the same.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <flashinfer/attention/mla_params.cuh>
#include <flashinfer/attention/scheduler.cuh>

#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

template <typename T>
::flashinfer::MLAParams<T, T, T, int32_t> FlashMlaParams(const FlashMlaLaunch& p, const FlashMlaPlan& plan) {
  using Params = ::flashinfer::MLAParams<T, T, T, int32_t>;
  const auto at = [&p](int64_t offset) { return ::flashinfer::GetPtrFromBaseOffset<int32_t>(p.int_workspace, offset); };
  const auto data = [](const void* pointer) { return static_cast<T*>(const_cast<void*>(pointer)); };
  Params params = {};
  params.q_nope = data(p.q_lat);
  params.q_pe = data(p.q_pe);
  params.ckv = data(p.cache);
  params.kpe = data(p.rope_key);
  params.final_o = static_cast<T*>(p.out);
  params.final_lse = nullptr;
  params.partial_o = ::flashinfer::GetPtrFromBaseOffset<T>(p.float_workspace, plan.partial_sums);
  params.partial_lse = ::flashinfer::GetPtrFromBaseOffset<float>(p.float_workspace, plan.partial_logarithms);
  params.q_indptr = at(plan.q_first);
  params.kv_indptr = at(plan.kv_first);
  params.partial_indptr = at(plan.partial_first);
  params.merge_packed_offset_start = at(plan.merge_start);
  params.merge_packed_offset_end = at(plan.merge_end);
  params.merge_partial_packed_offset_start = at(plan.merge_partial_start);
  params.merge_partial_packed_offset_end = at(plan.merge_partial_end);
  params.merge_partial_stride = at(plan.merge_stride);
  params.q_len = at(plan.q_len);
  params.kv_len = at(plan.kv_len);
  params.q_start = at(plan.q_start);
  params.kv_start = at(plan.kv_start);
  params.kv_end = at(plan.kv_end);
  params.work_indptr = at(plan.first_work);
  params.kv_indices = const_cast<int32_t*>(p.page_indices);
  params.block_size = ::flashinfer::uint_fastdiv(static_cast<uint32_t>(p.block_tokens));
  params.num_heads = ::flashinfer::uint_fastdiv(static_cast<uint32_t>(p.heads));
  params.q_nope_stride_n = static_cast<uint32_t>(p.q_lat_token);
  params.q_nope_stride_h = static_cast<uint32_t>(p.q_lat_head);
  params.q_pe_stride_n = static_cast<uint32_t>(p.q_pe_token);
  params.q_pe_stride_h = static_cast<uint32_t>(p.q_pe_head);
  params.ckv_stride_page = params.kpe_stride_page = static_cast<uint32_t>(p.cache_block);
  params.ckv_stride_n = params.kpe_stride_n = static_cast<uint32_t>(p.cache_token);
  params.o_stride_n = static_cast<uint32_t>(p.out_token);
  params.o_stride_h = static_cast<uint32_t>(p.out_head);
  params.sm_scale = p.scale;
  params.ckv_scale = 1.0f;
  params.kpe_scale = 1.0f;
  params.return_lse_base_on_e = false;
  return params;
}

}  // namespace hadal::kernels::cuda
