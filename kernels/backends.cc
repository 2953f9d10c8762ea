// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/torch/torch_backend.h"

namespace hadal::kernels {

std::vector<std::string> BackendNames() { return {"cuda", "cpu", "torch", "reference"}; }

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(absl::string_view name, const Backend::Options& options) {
  if (options.memory_budget_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory_budget_bytes: expected 0 or more, found ", options.memory_budget_bytes));
  }
  if (name == "cuda") return CreateCudaBackend(options);
  if (name == "cpu") return CreateCpuBackend(options);
  if (name == "reference") return CreateReferenceBackend(options);
  if (IsTorchDevice(name)) return CreateTorchBackend(name, options);
  return absl::InvalidArgumentError(
      absl::StrCat("backend: expected one of ", absl::StrJoin(BackendNames(), ", "), "; found ", name));
}

}  // namespace hadal::kernels
