// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// The ops on one NVIDIA GPU: own kernels, cuBLASLt for products and FlashInfer for attention where they take the shape.
// NotFound: this build holds no CUDA code, or the machine no NVIDIA GPU. FailedPrecondition: there is one, and the code
// does not run on it. Unavailable: the MPS server takes no client now.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const Backend::Options& options);

// The stream that a CUDA backend queues all its work on, for another library that takes turns with it. Valid as long as
// the backend.
struct CudaQueue {
  void* stream = nullptr;  // cudaStream_t; null: no CUDA backend
  // Before each piece of work that the other library queues, on the thread that issues ops: without it the backend
  // takes a stream that it has waited for to be still empty.
  std::function<absl::Status()> enter;
};
CudaQueue CudaQueueOf(Backend& backend);

// As SettleDevices.
void SettleCudaDevices();

}  // namespace hadal::kernels
