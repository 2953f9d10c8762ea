// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flashinfer_mla.cuh"

namespace hadal::kernels::cuda {

cudaError_t RunFlashMlaF16(cudaStream_t stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan) {
  return RunFlashMlaAs<__half>(stream, launch, plan);
}

}  // namespace hadal::kernels::cuda
