// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer throws on what it does not take; nothing leaves this file but an error code and a text.
#include <cuda_runtime.h>

#include <exception>
#include <limits>

#include <flashinfer/attention/scheduler.cuh>

#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

cudaError_t RunFlashPagedBf16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch);
cudaError_t RunFlashPagedBf16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch);
cudaError_t RunFlashPagedF16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch);
cudaError_t RunFlashPagedF16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch);

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

int RunFlashPaged(Stream stream, const FlashPagedLaunch& p, std::string* message) {
  const auto native = static_cast<cudaStream_t>(stream);
  try {
    if (p.dtype == DType::kBF16) {
      return p.head_dim == 64 ? RunFlashPagedBf16Dim64(native, p) : RunFlashPagedBf16Dim128(native, p);
    }
    return p.head_dim == 64 ? RunFlashPagedF16Dim64(native, p) : RunFlashPagedF16Dim128(native, p);
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

}  // namespace hadal::kernels::cuda
