// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// The CPU backend: threads, and inner loops for the best instruction set the machine has (or the one `options` names).
// Weights are read where they lie, also inside a mapped file. An op is done when the call returns.
// InvalidArgument: bad option; FailedPrecondition: the machine lacks the instruction set.
absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const Backend::Options& options);

}  // namespace hadal::kernels
