// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"

namespace hadal::kernels::cuda {

// What an error of the CUDA runtime that belongs to NVIDIA's Multi-Process Service means, and what helps.
struct MpsError {
  // Unavailable: the same call may work later. FailedPrecondition: it does not before somebody does something.
  absl::StatusCode code;
  const char* advice;
};

// Null for an error (a cudaError_t) that is none of MPS.
const MpsError* FindMpsError(int cuda_error);

}  // namespace hadal::kernels::cuda
