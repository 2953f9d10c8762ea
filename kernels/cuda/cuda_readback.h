// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_device.h"

namespace hadal::kernels::cuda {

// A Readback into page-locked memory; an event says when the copy is done, whatever was queued behind it.
absl::StatusOr<std::unique_ptr<Readback>> MakeCudaReadback(CudaDevice& device, int64_t bytes);

}  // namespace hadal::kernels::cuda
