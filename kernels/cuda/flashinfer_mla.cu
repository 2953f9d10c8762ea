// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer throws on what it does not take; nothing leaves this file but an error code and a text.
#include <cuda_runtime.h>

#include <exception>
#include <flashinfer/attention/scheduler.cuh>

#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

cudaError_t RunFlashMlaBf16(cudaStream_t stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan);
cudaError_t RunFlashMlaF16(cudaStream_t stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan);

int PlanFlashMlaRun(const FlashMlaLaunch& p, int64_t multiprocessors, FlashMlaPlan* plan, std::vector<int32_t>* ints,
                    std::string* message) {
  try {
    ints->resize(FlashMlaIntBytes(multiprocessors) / sizeof(int32_t));
    const size_t int_bytes = ints->size() * sizeof(int32_t);
    ::flashinfer::MLAPlanInfo info = {};
    size_t used = 0;
    // Both workspaces stand for the device's: it only measures them. What it writes, it writes to the host's list.
    const cudaError_t planned = ::flashinfer::MLAPlan<int32_t>(
        ints->data(), static_cast<size_t>(FlashMlaFloatBytes(multiprocessors)), ints->data(), ints->data(), int_bytes,
        info, used, const_cast<int32_t*>(p.host_query_start), const_cast<int32_t*>(p.host_first_page),
        const_cast<int32_t*>(p.host_context_lens), static_cast<uint32_t>(p.sequences), static_cast<uint32_t>(p.heads),
        static_cast<uint32_t>(kFlashMlaLatent), /*causal=*/true, nullptr);
    if (planned != cudaSuccess) return planned;
    *plan = FlashMlaPlan();
    plan->blocks_x = info.num_blks_x;
    plan->blocks_y = info.num_blks_y;
    plan->q_first = info.q_indptr_offset;
    plan->kv_first = info.kv_indptr_offset;
    plan->partial_first = info.partial_indptr_offset;
    plan->q_len = info.q_len_offset;
    plan->kv_len = info.kv_len_offset;
    plan->q_start = info.q_start_offset;
    plan->kv_start = info.kv_start_offset;
    plan->kv_end = info.kv_end_offset;
    plan->first_work = info.work_indptr_offset;
    plan->merge_start = info.merge_packed_offset_start_offset;
    plan->merge_end = info.merge_packed_offset_end_offset;
    plan->merge_partial_start = info.merge_partial_packed_offset_start_offset;
    plan->merge_partial_end = info.merge_partial_packed_offset_end_offset;
    plan->merge_stride = info.merge_partial_stride_offset;
    plan->partial_sums = info.partial_o_offset;
    plan->partial_logarithms = info.partial_lse_offset;
    return cudaSuccess;
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

int RunFlashMla(Stream stream, const FlashMlaLaunch& p, const FlashMlaPlan& plan, std::string* message) {
  const auto native = static_cast<cudaStream_t>(stream);
  try {
    return p.dtype == DType::kBF16 ? RunFlashMlaBf16(native, p, plan) : RunFlashMlaF16(native, p, plan);
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

}  // namespace hadal::kernels::cuda
