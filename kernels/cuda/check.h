// SPDX-License-Identifier: Apache-2.0
//
// Errors of the CUDA runtime and of cuBLASLt as absl::Status with the call, the file and the line.
#pragma once

#include "absl/status/status.h"

namespace hadal::kernels::cuda {

// ResourceExhausted for a lack of device memory, what mps_error.h says of MPS, with its advice, and Internal for
// everything else. CudaError takes the error from the runtime too, so that no later launch finds it.
absl::Status CudaError(int code, const char* call, const char* file, int line);
absl::Status CublasError(int code, const char* call, const char* file, int line);

}  // namespace hadal::kernels::cuda

// Return the error of a call that gives a cudaError_t (or an int of that meaning), or a cublasStatus_t.
#define HADAL_CUDA_RETURN_IF_ERROR(call)                                                                  \
  do {                                                                                                    \
    const int hadal_code = static_cast<int>(call);                                                        \
    if (hadal_code != 0) return ::hadal::kernels::cuda::CudaError(hadal_code, #call, __FILE__, __LINE__); \
  } while (false)

#define HADAL_CUBLAS_RETURN_IF_ERROR(call)                                                                  \
  do {                                                                                                      \
    const int hadal_code = static_cast<int>(call);                                                          \
    if (hadal_code != 0) return ::hadal::kernels::cuda::CublasError(hadal_code, #call, __FILE__, __LINE__); \
  } while (false)
