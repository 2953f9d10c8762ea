// SPDX-License-Identifier: Apache-2.0
#include "kernels/torch/gpu_backend.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/headeronly/version.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/torch/run.h"
#include "kernels/torch/torch_device.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

// What c10::cuda::getStreamFromExternal makes: a stream that is not of libtorch's pools has its handle for a number.
// Said in the device-neutral form, for the function itself would link CUDA's part of libtorch to all who open this
// library.
at::Stream ExternalStream(const at::Device& device, void* stream) {
  return at::Stream(at::Stream::UNSAFE, device, reinterpret_cast<at::StreamId>(stream));
}

#define HADAL_RUN_OP(Op)                                   \
  absl::Status Do##Op(const Op##Params& params) override { \
    return Run(#Op, [&] {                                  \
      const c10::StreamGuard guard(stream_);               \
      torch::Op(device_, params);                          \
    });                                                    \
  }

class TorchGpuBackend final : public TorchDevice {
 public:
  TorchGpuBackend(const at::Device& device, const at::Stream& stream, std::string description)
      : TorchDevice(device), stream_(stream), description_(std::move(description)) {}
  using TorchDevice::Open;

  absl::string_view name() const override { return "torch"; }
  std::string description() const override { return description_; }

 protected:
  HADAL_FOR_EACH_OP(HADAL_RUN_OP)

 private:
  const at::Stream stream_;
  const std::string description_;
};

#undef HADAL_RUN_OP

}  // namespace

BackendResult CreateGpuBackend(const at::Device& device, const Backend::Options& options, void* stream) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  at::Stream queue(at::Stream::DEFAULT, device);
  const absl::Status known = Run("stream", [&] {
    queue = stream != nullptr ? ExternalStream(device, stream) : guard.getDefaultStream(device);
    if (stream != nullptr) TORCH_CHECK(queue.native_handle() == stream, "not known by its handle");
  });
  if (!known.ok()) return absl::FailedPreconditionError(known.message());
  auto backend = std::make_unique<TorchGpuBackend>(
      device, queue, absl::StrCat("torch ", TORCH_VERSION, ", cuda:", static_cast<int>(device.index())));
  if (absl::Status s = backend->Open(options.memory_budget_bytes); !s.ok()) return s;
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace hadal::kernels::torch
