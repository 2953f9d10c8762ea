// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace hadal::models::testing {

// Another backend whose fresh memory holds `poison` bytes. 0xff makes every float type NaN, so a result that depends on
// memory nobody wrote shows. With `pretend_device` it claims that host memory is out of its reach: weights are then
// joined and uploaded as for a GPU.
class PoisonedBackend : public kernels::Backend {
 public:
  PoisonedBackend(std::unique_ptr<kernels::Backend> inner, int poison, bool pretend_device = false)
      : inner_(std::move(inner)), poison_(poison), pretend_device_(pretend_device) {}

  absl::string_view name() const override { return inner_->name(); }
  std::string description() const override { return inner_->description(); }
  bool host_accessible() const override { return !pretend_device_ && inner_->host_accessible(); }
  absl::StatusOr<kernels::Buffer> Allocate(int64_t bytes) override {
    auto buffer = inner_->Allocate(bytes);
    if (buffer.ok() && bytes > 0) std::memset(buffer->data(), poison_, bytes);
    return buffer;
  }
  absl::StatusOr<kernels::DeviceMemory> Memory() override { return inner_->Memory(); }
  absl::Status Upload(void* to, const void* from, int64_t bytes) override { return inner_->Upload(to, from, bytes); }
  absl::Status Download(void* to, const void* from, int64_t bytes) override {
    return inner_->Download(to, from, bytes);
  }
  absl::Status Copy(void* to, const void* from, int64_t bytes) override { return inner_->Copy(to, from, bytes); }
  absl::Status Zero(void* to, int64_t bytes) override { return inner_->Zero(to, bytes); }
  absl::Status Synchronize() override { return inner_->Synchronize(); }

 protected:
#define HADAL_FORWARD(Op) \
  absl::Status Do##Op(const kernels::Op##Params& params) override { return inner_->Op(params); }
  HADAL_FOR_EACH_OP(HADAL_FORWARD)
  HADAL_FOR_EACH_FUSED_OP(HADAL_FORWARD)
#undef HADAL_FORWARD

 private:
  void Free(void* data, int64_t bytes) override {}  // the buffers belong to the inner backend

  std::unique_ptr<kernels::Backend> inner_;
  int poison_;
  bool pretend_device_;
};

}  // namespace hadal::models::testing
