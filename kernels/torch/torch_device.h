// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/byte_budget.h"

namespace hadal::kernels::torch {

// Memory and copies of a device that libtorch drives. Buffers come from libtorch's caching allocator and count against
// the budget; what its ops allocate for themselves does not, so without a budget a part of the device stays reserved
// for them. Work runs on the device's default stream. Allocate, Memory and Free may be called from any thread, the rest
// by one thread at a time.
class TorchDevice : public Backend {
 public:
  bool host_accessible() const override { return false; }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override;
  absl::StatusOr<DeviceMemory> Memory() override;
  absl::Status Upload(void* device_target, const void* source, int64_t bytes) override;
  absl::Status Download(void* target, const void* device_source, int64_t bytes) override;
  absl::Status Copy(void* device_target, const void* device_source, int64_t bytes) override;
  absl::Status Zero(void* device_target, int64_t bytes) override;
  absl::Status Synchronize() override;

 protected:
  // The device must exist.
  explicit TorchDevice(const at::Device& device) : device_(device) {}
  // Before anything else. A budget of 0 is what the device has free now, short of the reserve.
  absl::Status Open(int64_t budget_bytes);

  const at::Device device_;

 private:
  void Free(void* data, int64_t bytes) override;

  ByteBudget budget_;
};

}  // namespace hadal::kernels::torch
