// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer throws on what it does not take; nothing leaves this file but an error code and a text.
#include <cuda_runtime.h>

#include <exception>
#include <flashinfer/attention/scheduler.cuh>
#include <limits>

#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

cudaError_t RunFlashPagedBf16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedBf16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedF16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedF16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);

bool HaveFlashInfer() { return true; }

int FlashPagedWorkspace(const FlashPagedLaunch& p, int64_t* float_bytes, int64_t* int_bytes, std::string* message) {
  try {
    size_t floats = 0, ints = 0;
    const cudaError_t sized = ::flashinfer::PrefillPlanWorkspaceSize<int32_t>(
        floats, ints, const_cast<int32_t*>(p.host_query_start), const_cast<int32_t*>(p.host_first_page),
        static_cast<uint32_t>(p.tokens), static_cast<uint32_t>(p.sequences), static_cast<uint32_t>(p.heads),
        static_cast<uint32_t>(p.kv_heads), static_cast<uint32_t>(p.head_dim), static_cast<uint32_t>(p.head_dim),
        static_cast<uint32_t>(p.block_tokens), /*enable_cuda_graph=*/false, /*sizeof_dtype_o=*/2, /*window_left=*/-1,
        /*fixed_split_size=*/-1, /*disable_split_kv=*/false, /*num_colocated_ctas=*/0, /*uniform_q_len=*/0, nullptr);
    *float_bytes = static_cast<int64_t>(floats);
    *int_bytes = static_cast<int64_t>(ints);
    return sized;
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

int PlanFlashPagedRun(Stream stream, const FlashPagedLaunch& p, FlashPagedPlan* plan, std::string* message) {
  try {
    ::flashinfer::PrefillPlanInfo info;
    const cudaError_t planned = ::flashinfer::PrefillPlan<int32_t>(
        p.float_workspace, static_cast<size_t>(p.float_bytes), p.int_workspace, p.host_int_workspace,
        static_cast<size_t>(p.int_bytes), info, const_cast<int32_t*>(p.host_query_start),
        const_cast<int32_t*>(p.host_first_page), static_cast<uint32_t>(p.tokens), static_cast<uint32_t>(p.sequences),
        static_cast<uint32_t>(p.heads), static_cast<uint32_t>(p.kv_heads), static_cast<uint32_t>(p.head_dim),
        static_cast<uint32_t>(p.head_dim), static_cast<uint32_t>(p.block_tokens), /*enable_cuda_graph=*/false,
        /*sizeof_dtype_o=*/2, /*window_left=*/-1, /*fixed_split_size=*/-1, /*disable_split_kv=*/false,
        /*num_colocated_ctas=*/0, /*uniform_q_len=*/0, static_cast<cudaStream_t>(stream));
    if (planned != cudaSuccess) return planned;
    *plan = FlashPagedPlan();
    plan->tiles = info.padded_batch_size;
    plan->tile_rows = info.cta_tile_q;
    plan->sequence = info.request_indices_offset;
    plan->query_tile = info.qo_tile_indices_offset;
    plan->key_tile = info.kv_tile_indices_offset;
    plan->first_row = info.o_indptr_offset;
    plan->chunk = info.kv_chunk_size_ptr_offset;
    plan->split = info.split_kv;
    plan->merge_first = info.merge_indptr_offset;
    plan->partial_sums = info.v_offset;
    plan->partial_logarithms = info.s_offset;
    if (info.enable_cuda_graph) {
      plan->valid_tiles = info.block_valid_mask_offset;
      plan->row_count = info.total_num_rows_offset;
    }
    return cudaSuccess;
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

int RunFlashPaged(Stream stream, const FlashPagedLaunch& p, const FlashPagedPlan& plan, std::string* message) {
  const auto native = static_cast<cudaStream_t>(stream);
  try {
    if (p.dtype == DType::kBF16) {
      return p.head_dim == 64 ? RunFlashPagedBf16Dim64(native, p, plan) : RunFlashPagedBf16Dim128(native, p, plan);
    }
    return p.head_dim == 64 ? RunFlashPagedF16Dim64(native, p, plan) : RunFlashPagedF16Dim128(native, p, plan);
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

}  // namespace hadal::kernels::cuda
