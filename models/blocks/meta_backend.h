// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "kernels/uniform_backend.h"

namespace hadal::models {

// A backend without memory and arithmetic: ops check their parameters and do nothing more, buffers have addresses that
// must not be touched. Loading a network on it costs no memory for weights. Thread-compatible.
class MetaBackend : public kernels::UniformBackend<MetaBackend> {
 public:
  absl::string_view name() const override { return "meta"; }
  std::string description() const override { return "meta, no memory"; }
  // As on the CPU, so that parameters are declared one by one.
  bool host_accessible() const override { return true; }

  absl::StatusOr<kernels::Buffer> Allocate(int64_t bytes) override {
    return kernels::Buffer(this, reinterpret_cast<void*>(kAddress), bytes);
  }
  absl::StatusOr<kernels::DeviceMemory> Memory() override { return kernels::DeviceMemory(); }
  absl::Status Upload(void*, const void*, int64_t) override { return absl::OkStatus(); }
  absl::Status Download(void*, const void*, int64_t) override { return absl::OkStatus(); }
  absl::Status Copy(void*, const void*, int64_t) override { return absl::OkStatus(); }
  absl::Status Zero(void*, int64_t) override { return absl::OkStatus(); }
  absl::Status Synchronize() override { return absl::OkStatus(); }

  template <typename Params>
  absl::Status RunOp(const Params&) {
    return absl::OkStatus();
  }

 private:
  static constexpr uintptr_t kAddress = 4096;  // of every buffer: not null and aligned

  void Free(void*, int64_t) override {}
};

}  // namespace hadal::models
