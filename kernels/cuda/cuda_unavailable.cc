// SPDX-License-Identifier: Apache-2.0
//
// Stands in for the CUDA backend in builds without HADAL_CUDA.
#include "kernels/cuda/cuda_backend.h"

namespace hadal::kernels {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const Backend::Options&) {
  return absl::NotFoundError("cuda: this build holds no CUDA code; build it with the cuda preset");
}

CudaQueue CudaQueueOf(Backend&) { return {}; }

void SettleCudaDevices() {}

}  // namespace hadal::kernels
