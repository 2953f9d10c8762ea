// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flashinfer_prefill.cuh"

namespace hadal::kernels::cuda {

cudaError_t RunFlashPrefillF16(cudaStream_t stream, const FlashPrefillLaunch& launch, const FlashPrefillPlan& plan) {
  return RunFlashPrefillAs<cutlass::half_t>(stream, launch, plan);
}

}  // namespace hadal::kernels::cuda
