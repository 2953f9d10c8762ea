// SPDX-License-Identifier: Apache-2.0
#include "kernels/torch/torch_device.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/torch/run.h"

namespace hadal::kernels::torch {
namespace {

constexpr int64_t kReservedBytes = int64_t{2} << 30;  // for what libtorch's ops and libraries allocate

at::Tensor Bytes(const at::Device& device, const void* data, int64_t bytes) {
  return at::for_blob(const_cast<void*>(data), {bytes})
      .options(at::TensorOptions(at::kByte).device(device))
      .target_device(device)
      .make_tensor();
}

absl::Status CopyBytes(const char* what, const at::Device& to_device, void* to, const at::Device& from_device,
                       const void* from, int64_t bytes) {
  if (absl::Status s = CheckByteCount(what, bytes); !s.ok()) return s;
  if (bytes == 0) return absl::OkStatus();
  return Run(what, [&] { Bytes(to_device, to, bytes).copy_(Bytes(from_device, from, bytes)); });
}

}  // namespace

absl::Status TorchDevice::Open(int64_t budget_bytes) {
  budget_.SetLimit(budget_bytes);
  if (budget_bytes > 0) return absl::OkStatus();
  return Run("open", [&] {
    const c10::DeviceGuard guard(device_);
    const auto free =
        static_cast<int64_t>(c10::getDeviceAllocator(device_.type())->getMemoryInfo(device_.index()).first);
    budget_.SetLimit(std::max<int64_t>(0, free - kReservedBytes));
  });
}

absl::StatusOr<Buffer> TorchDevice::Allocate(int64_t bytes) {
  if (absl::Status s = budget_.Take(bytes); !s.ok()) return s;
  if (bytes == 0) return Buffer();
  void* data = nullptr;
  const absl::Status status = Run("allocate", [&] {
    const c10::DeviceGuard guard(device_);
    data = c10::GetAllocator(device_.type())->raw_allocate(static_cast<size_t>(bytes));
  });
  if (!status.ok()) {
    budget_.Return(bytes);
    return status;
  }
  return Buffer(this, data, bytes);
}

void TorchDevice::Free(void* data, int64_t bytes) {
  Run("free", [&] {
    const c10::DeviceGuard guard(device_);
    c10::GetAllocator(device_.type())->raw_deallocate(data);
  }).IgnoreError();
  budget_.Return(bytes);
}

absl::StatusOr<DeviceMemory> TorchDevice::Memory() { return DeviceMemory{budget_.limit_bytes(), budget_.used_bytes()}; }

absl::Status TorchDevice::Upload(void* device_target, const void* source, int64_t bytes) {
  return CopyBytes("upload", device_, device_target, at::kCPU, source, bytes);
}

absl::Status TorchDevice::Download(void* target, const void* device_source, int64_t bytes) {
  return CopyBytes("download", at::kCPU, target, device_, device_source, bytes);
}

absl::Status TorchDevice::Copy(void* device_target, const void* device_source, int64_t bytes) {
  return CopyBytes("copy", device_, device_target, device_, device_source, bytes);
}

absl::Status TorchDevice::Zero(void* device_target, int64_t bytes) {
  if (absl::Status s = CheckByteCount("zero", bytes); !s.ok()) return s;
  if (bytes == 0) return absl::OkStatus();
  return Run("zero", [&] { Bytes(device_, device_target, bytes).zero_(); });
}

absl::Status TorchDevice::Synchronize() {
  return Run("synchronize", [&] { c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.index()); });
}

}  // namespace hadal::kernels::torch
