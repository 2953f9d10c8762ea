// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/backend.h"

namespace hadal::kernels {

// What backends on host memory share: allocation against a budget, and copies that are plain memory copies. Work is
// done when a call returns, so Synchronize has nothing to wait for. Memory functions are thread-safe; see Backend for
// the rest.
class HostBackend : public Backend {
 public:
  explicit HostBackend(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}

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

  const int64_t budget_bytes_;  // 0: physical memory
  std::atomic<int64_t> used_bytes_{0};
};

}  // namespace hadal::kernels
