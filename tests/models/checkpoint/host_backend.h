// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/uniform_backend.h"

namespace hadal::checkpoint {

// Memory without arithmetic: allocates and copies, counts what lives. With host_accessible false it stands for a device
// whose memory only Upload reaches.
class HostBackend : public kernels::UniformBackend<HostBackend> {
 public:
  explicit HostBackend(bool host_accessible = true, int64_t budget_bytes = int64_t{1} << 34)
      : host_accessible_(host_accessible), budget_bytes_(budget_bytes) {}

  absl::string_view name() const override { return "host"; }
  std::string description() const override { return "host memory"; }
  bool host_accessible() const override { return host_accessible_; }

  absl::StatusOr<kernels::Buffer> Allocate(int64_t bytes) override {
    if (used_bytes_ + bytes > budget_bytes_) return absl::ResourceExhaustedError("budget of the test is used up");
    used_bytes_ += bytes;
    const size_t rounded = (static_cast<size_t>(bytes) + 64) / 64 * 64;
    return kernels::Buffer(this, std::aligned_alloc(64, rounded), bytes);
  }
  absl::StatusOr<kernels::DeviceMemory> Memory() override { return kernels::DeviceMemory{budget_bytes_, used_bytes_}; }
  absl::Status Upload(void* target, const void* source, int64_t bytes) override {
    if (bytes > 0) std::memcpy(target, source, static_cast<size_t>(bytes));
    ++uploads;
    return absl::OkStatus();
  }
  // What a device copies from is memory of its own here, so that a fill that fails leaves the target alone.
  absl::Status UploadFilled(void* target, int64_t bytes, absl::FunctionRef<absl::Status(void*)> fill) override {
    if (absl::Status s = CheckFilledBytes(bytes); !s.ok()) return s;
    if (host_accessible_) return fill(target);
    const int64_t staged_now = staged_bytes_ += bytes;
    for (int64_t most = most_staged_bytes; most < staged_now;)
      most_staged_bytes.compare_exchange_weak(most, staged_now);
    thread_local std::vector<std::byte> staged;
    staged.resize(static_cast<size_t>(bytes));
    absl::Status filled = fill(staged.data());
    if (filled.ok() && bytes > 0) std::memcpy(target, staged.data(), staged.size());
    staged_bytes_ -= bytes;
    ++fills;
    return filled;
  }
  absl::Status Download(void* target, const void* source, int64_t bytes) override {
    if (bytes > 0) std::memcpy(target, source, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  absl::Status Copy(void* target, const void* source, int64_t bytes) override {
    return Download(target, source, bytes);
  }
  absl::Status Zero(void* target, int64_t bytes) override {
    if (bytes > 0) std::memset(target, 0, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  absl::Status Synchronize() override { return absl::OkStatus(); }

  int64_t used_bytes() const { return used_bytes_; }
  std::atomic<int> uploads{0}, fills{0};      // of Upload, of UploadFilled to a device
  std::atomic<int64_t> most_staged_bytes{0};  // of fills at one time

 private:
  friend kernels::UniformBackend<HostBackend>;

  template <typename Params>
  absl::Status RunOp(const Params&) {
    return absl::UnimplementedError("the host backend has no arithmetic");
  }
  void Free(void* data, int64_t bytes) override {
    std::free(data);
    used_bytes_ -= bytes;
  }

  bool host_accessible_;
  int64_t budget_bytes_;
  std::atomic<int64_t> used_bytes_{0}, staged_bytes_{0};
};

}  // namespace hadal::checkpoint
