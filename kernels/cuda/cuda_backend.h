// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// The ops on one NVIDIA GPU: own kernels, cuBLASLt for products and FlashInfer for attention where they take the shape.
// NotFound: this build holds no CUDA code, or the machine no NVIDIA GPU. FailedPrecondition: there is one, and the code
// does not run on it. Unavailable: the MPS server takes no client now.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const Backend::Options& options);

// As SettleDevices.
void SettleCudaDevices();

}  // namespace hadal::kernels
