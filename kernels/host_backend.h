// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/byte_budget.h"

namespace hadal::kernels {

// What backends on host memory share: allocation against a budget, and copies that are plain memory copies. Work is
// done when a call returns, so Synchronize has nothing to wait for. Memory functions are thread-safe; see Backend for
// the rest.
class HostBackend : public Backend {
 public:
  // 0: the physical memory.
  explicit HostBackend(int64_t budget_bytes);

  bool host_accessible() const override { return true; }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override;
  absl::StatusOr<DeviceMemory> Memory() override;
  absl::Status Upload(void* device_target, const void* source, int64_t bytes) override;
  absl::Status Download(void* target, const void* device_source, int64_t bytes) override;
  absl::Status Copy(void* device_target, const void* device_source, int64_t bytes) override;
  absl::Status Zero(void* device_target, int64_t bytes) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }

 private:
  void Free(void* data, int64_t bytes) override;

  ByteBudget budget_;
};

}  // namespace hadal::kernels
