// SPDX-License-Identifier: Apache-2.0
#include <flashinfer/attention/mla.cuh>

#include "kernels/cuda/flashinfer_mla.cuh"

namespace hadal::kernels::cuda {

cudaError_t RunFlashMlaBf16(cudaStream_t stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan) {
  return ::flashinfer::mla::BatchMLAPagedAttention<::flashinfer::MaskMode::kCausal, kFlashMlaLatent, kFlashMlaRope>(
      FlashMlaParams<__nv_bfloat16>(launch, plan), static_cast<uint32_t>(plan.blocks_x),
      static_cast<uint32_t>(plan.blocks_y), stream);
}

}  // namespace hadal::kernels::cuda
