// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flashinfer_paged.cuh"

namespace hadal::kernels::cuda {

cudaError_t RunFlashPagedF16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan) {
  return RunFlashPagedAs<__half, 64>(stream, launch, plan);
}

}  // namespace hadal::kernels::cuda
