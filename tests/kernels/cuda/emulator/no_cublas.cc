// SPDX-License-Identifier: Apache-2.0
//
// Stands in for cuBLASLt in the emulator: it takes no shape, so that every product runs on the generic kernel.
#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/cublas_gemm.h"

namespace hadal::kernels::cuda {
namespace {

class NoGemm final : public CublasGemm {
 public:
  absl::StatusOr<bool> Run(const GemmPlan&) override { return false; }
};

}  // namespace

absl::StatusOr<std::unique_ptr<CublasGemm>> CublasGemm::Create(Stream, bool) { return std::make_unique<NoGemm>(); }

}  // namespace hadal::kernels::cuda
