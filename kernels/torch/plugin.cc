// SPDX-License-Identifier: Apache-2.0
#include "kernels/torch/plugin.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "kernels/host_backend.h"
#include "kernels/torch/gpu_backend.h"
#include "kernels/torch/run.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

constexpr int kMaxThreads = 1024;

// Products sum in float32: no TF32, no reduction of partial sums in a half type. Of the whole process.
void UseFullPrecision() {
  at::Context& context = at::globalContext();
  context.setFloat32MatmulPrecision("highest");
  context.setAllowTF32CuDNN(false);
  context.setAllowFP16ReductionCuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowFP16ReductionCPU(false);
  context.setAllowFP16BF16ReductionMathSDP(false);
}

#define HADAL_RUN_OP(Op)                                         \
  absl::Status Do##Op(const Op##Params& params) override {       \
    return Run(#Op, [&] { torch::Op(device_of_ops_, params); }); \
  }

class TorchCpuBackend final : public HostBackend {
 public:
  TorchCpuBackend(int64_t budget_bytes, std::string description)
      : HostBackend(budget_bytes), description_(std::move(description)) {}

  absl::string_view name() const override { return "torch"; }
  std::string description() const override { return description_; }

 protected:
  HADAL_FOR_EACH_OP(HADAL_RUN_OP)

 private:
  const at::Device device_of_ops_ = at::kCPU;
  const std::string description_;
};

#undef HADAL_RUN_OP

BackendResult CreateOnCpu(const Backend::Options& options, const void* stream) {
  if (stream != nullptr) return absl::InvalidArgumentError("torch: a stream is for a GPU, found one for the CPU");
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("torch threads: expected 0 to ", kMaxThreads, ", found ", options.threads));
  }
  const int cores = std::clamp<int>(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
  const int threads = options.threads > 0 ? options.threads : cores;
  if (absl::Status s = Run("threads", [&] { at::set_num_threads(threads); }); !s.ok()) return s;
  return std::make_unique<TorchCpuBackend>(
      options.memory_budget_bytes,
      absl::StrCat("torch ", TORCH_VERSION, ", cpu, ", threads, threads == 1 ? " thread" : " threads"));
}

// libtorch's part for GPUs is half of it and brings CUDA's libraries: only who asks for a GPU loads it.
absl::StatusOr<int> GpuCount() {
  static const void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("torch: libtorch without CUDA: ", dlerror()));
  }
  return c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
}

BackendResult CreateOnGpu(int index, const Backend::Options& options, void* stream) {
  const absl::StatusOr<int> count = GpuCount();
  if (!count.ok()) return count.status();
  if (index < 0 || index >= *count) {
    return absl::FailedPreconditionError(absl::StrCat("torch: no device cuda:", index, ": libtorch sees ", *count));
  }
  // Ops do this by themselves; the allocator, which is called first, does not.
  if (absl::Status s = Run("start", [] { at::globalContext().lazyInitDevice(at::kCUDA); }); !s.ok()) return s;
  return CreateGpuBackend(at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index)), options, stream);
}

BackendResult Create(absl::string_view device, const Backend::Options& options, void* stream) {
  if (absl::Status s = Run("start", UseFullPrecision); !s.ok()) return s;
  if (device == "torch") {
    const absl::StatusOr<int> gpus = GpuCount();
    return gpus.ok() && *gpus > 0 ? CreateOnGpu(options.device_index, options, stream) : CreateOnCpu(options, stream);
  }
  if (device == "torch:cpu") return CreateOnCpu(options, stream);
  if (device == "torch:cuda") return CreateOnGpu(options.device_index, options, stream);
  int index = 0;
  absl::string_view number = device;
  if (absl::ConsumePrefix(&number, "torch:cuda:") && absl::SimpleAtoi(number, &index) && index >= 0) {
    return CreateOnGpu(index, options, stream);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("device: expected torch, torch:cpu, torch:cuda or torch:cuda:N, found ", device));
}

}  // namespace
}  // namespace hadal::kernels::torch

extern "C" {

uint64_t hadal_torch_stamp() { return hadal::kernels::torch::PluginStamp(); }

void hadal_torch_create(const char* device, const hadal::kernels::Backend::Options* options, void* stream,
                        hadal::kernels::torch::BackendResult* result) {
  *result = hadal::kernels::torch::Create(device, *options, stream);
}

}  // extern "C"
