// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include "kernels/backend.h"
#include "kernels/torch/plugin.h"

namespace hadal::kernels::torch {

// The ops on a GPU of libtorch, which must exist and be started. `stream` as for CreateTorchBackend: libtorch's current
// stream is that one while an op is issued, so its kernels, its copies and the memory that it takes for itself keep the
// order of that stream. FailedPrecondition: this libtorch does not know a stream by its handle.
BackendResult CreateGpuBackend(const at::Device& device, const Backend::Options& options, void* stream);

}  // namespace hadal::kernels::torch
