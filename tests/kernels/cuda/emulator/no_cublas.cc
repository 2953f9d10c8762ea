// SPDX-License-Identifier: Apache-2.0
//
// Stands in for cuBLASLt in the emulator: it takes no shape, so that every product runs on the generic kernel.
#include "absl/status/status.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/cublas_gemm.h"

namespace hadal::kernels::cuda {
namespace {

class NoGemm final : public CublasGemm {
 public:
  absl::Status Run(const GemmPlan&) override { return absl::UnimplementedError("no cuBLASLt in the emulator"); }
};

}  // namespace

int64_t CublasGemm::WorkspaceBytes(bool) { return 0; }

int64_t CublasGemm::Version() { return 0; }

absl::StatusOr<std::unique_ptr<CublasGemm>> CublasGemm::Create(Stream, const Options&) {
  return std::make_unique<NoGemm>();
}

}  // namespace hadal::kernels::cuda
