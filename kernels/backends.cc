// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/swapped_ops.h"
#include "kernels/torch/torch_backend.h"

namespace hadal::kernels {

namespace {

// With HADAL_CUDA_TORCH_OPS=gemm,paged_attention,... these ops run on libtorch, on the same memory and stream.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaOrSwapped(const Backend::Options& options) {
  absl::StatusOr<std::unique_ptr<Backend>> cuda = CreateCudaBackend(options);
  const char* ops = std::getenv("HADAL_CUDA_TORCH_OPS");
  if (!cuda.ok() || ops == nullptr || *ops == '\0') return cuda;
  CudaQueue queue = CudaQueueOf(**cuda);
  absl::StatusOr<std::unique_ptr<Backend>> torch = CreateTorchBackend("torch:cuda", options, queue.stream);
  absl::Status status = torch.status();
  if (torch.ok()) {
    absl::StatusOr<std::unique_ptr<Backend>> swapped =
        SwapOps(*std::move(cuda), *std::move(torch), ops, std::move(queue.enter));
    if (swapped.ok()) return swapped;
    status = swapped.status();
  }
  return absl::Status(status.code(), absl::StrCat("HADAL_CUDA_TORCH_OPS: ", status.message()));
}

}  // namespace

std::vector<std::string> BackendNames() { return {"cuda", "cpu", "torch", "reference"}; }

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(absl::string_view name, const Backend::Options& options) {
  if (options.memory_budget_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory_budget_bytes: expected 0 or more, found ", options.memory_budget_bytes));
  }
  if (name == "cuda") return CreateCudaOrSwapped(options);
  if (name == "cpu") return CreateCpuBackend(options);
  if (name == "reference") return CreateReferenceBackend(options);
  if (IsTorchDevice(name)) return CreateTorchBackend(name, options);
  return absl::InvalidArgumentError(
      absl::StrCat("backend: expected one of ", absl::StrJoin(BackendNames(), ", "), "; found ", name));
}

void SettleDevices() { SettleCudaDevices(); }

}  // namespace hadal::kernels
