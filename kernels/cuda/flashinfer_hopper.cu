// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer throws on what it does not take; nothing leaves this file but an error code and a text.
#include <cuda_runtime.h>

#include <exception>

#include "kernels/cuda/flashinfer_hopper.h"

namespace hadal::kernels::cuda {

// The instances, one a file.
cudaError_t RunFlashPrefillBf16(cudaStream_t stream, const FlashPrefillLaunch& launch, const FlashPrefillPlan& plan);
cudaError_t RunFlashPrefillF16(cudaStream_t stream, const FlashPrefillLaunch& launch, const FlashPrefillPlan& plan);
cudaError_t RunFlashMlaHopperBf16(cudaStream_t stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan);
cudaError_t RunFlashMlaHopperF16(cudaStream_t stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan);

bool HaveFlashHopper() { return true; }

int RunFlashPrefill(Stream stream, const FlashPrefillLaunch& p, const FlashPrefillPlan& plan, std::string* message) {
  const auto native = static_cast<cudaStream_t>(stream);
  try {
    return p.dtype == DType::kBF16 ? RunFlashPrefillBf16(native, p, plan) : RunFlashPrefillF16(native, p, plan);
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

int RunFlashMlaHopper(Stream stream, const FlashMlaLaunch& p, const FlashMlaPlan& plan, std::string* message) {
  const auto native = static_cast<cudaStream_t>(stream);
  try {
    return p.dtype == DType::kBF16 ? RunFlashMlaHopperBf16(native, p, plan) : RunFlashMlaHopperF16(native, p, plan);
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

}  // namespace hadal::kernels::cuda
