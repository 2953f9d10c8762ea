// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_backend.h"

#include <utility>

#include "kernels/cuda/cuda_ops.h"

namespace hadal::kernels {
namespace cuda {

absl::Status CudaBackend::Start(const Options& options) {
  if (absl::Status s = Open(options); !s.ok()) return s;
  absl::StatusOr<std::unique_ptr<CublasGemm>> gemm = CublasGemm::Create(stream(), options.batch_invariant);
  if (!gemm.ok()) return gemm.status();
  cublas_ = *std::move(gemm);
  batch_invariant_ = options.batch_invariant;
  return absl::OkStatus();
}

CudaBackend::~CudaBackend() {
  if (cublas_ != nullptr) Synchronize().IgnoreError();  // its workspace may be in use
}

}  // namespace cuda

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const Backend::Options& options) {
  auto backend = std::make_unique<cuda::CudaBackend>();
  if (absl::Status s = backend->Start(options); !s.ok()) return s;
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace hadal::kernels
