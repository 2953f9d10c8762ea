// SPDX-License-Identifier: Apache-2.0
//
// Which stream libtorch's ops are queued on. A stand-in for CUDA's part of libtorch says what the current stream is,
// and runs the one op that the tests call, on host memory.
#include <ATen/core/Tensor.h>
#include <c10/core/impl/FakeGuardImpl.h>
#include <torch/library.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/torch/gpu_backend.h"

namespace hadal::kernels::torch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Streams by number, and a handle for each: as CUDA's, whose streams of other libraries have their handle for a number.
class StandIn final : public c10::impl::DeviceGuardImplInterface {
 public:
  at::DeviceType type() const override { return at::kCUDA; }
  at::Device exchangeDevice(at::Device) const override { return getDevice(); }
  at::Device getDevice() const override { return at::Device(at::kCUDA, 0); }
  void setDevice(at::Device) const override {}
  void uncheckedSetDevice(at::Device) const noexcept override {}
  at::Stream getStream(at::Device device) const override { return at::Stream(at::Stream::UNSAFE, device, current); }
  at::Stream getDefaultStream(at::Device device) const override { return at::Stream(at::Stream::DEFAULT, device); }
  at::Stream exchangeStream(at::Stream stream) const override {
    return at::Stream(at::Stream::UNSAFE, stream.device(), std::exchange(current, stream.id()));
  }
  void* getStreamNativeHandle(const at::Stream stream) const override {
    return knows_handles ? reinterpret_cast<void*>(stream.id()) : nullptr;
  }
  at::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const at::Stream&, const at::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const at::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const at::DeviceIndex) const noexcept override {}

  static inline at::StreamId current = 0;
  static inline bool knows_handles = true;
};
C10_REGISTER_GUARD_IMPL(CUDA, StandIn)

std::vector<at::StreamId> streams_of_copies;

at::Tensor& CopyOnCurrentStream(at::Tensor& to, const at::Tensor& from, bool) {
  streams_of_copies.push_back(StandIn::current);
  if (from.numel() == 0) return to;
  if (streams_of_copies.size() > 2) TORCH_CHECK(false, "a device that failed");
  std::memcpy(to.data_ptr(), from.data_ptr(), from.nbytes());
  return to;
}

}  // namespace
}  // namespace hadal::kernels::torch

// Its macro names ::torch.
TORCH_LIBRARY_IMPL(aten, CUDA, library) { library.impl("copy_", hadal::kernels::torch::CopyOnCurrentStream); }

namespace hadal::kernels::torch {
namespace {

class TorchStreamTest : public ::testing::Test {
 protected:
  TorchStreamTest() { streams_of_copies.clear(); }
  ~TorchStreamTest() override {
    StandIn::current = 0;
    StandIn::knows_handles = true;
  }

  static BackendResult Create(void* stream) {
    return CreateGpuBackend(at::Device(at::kCUDA, 0), {.memory_budget_bytes = 1000}, stream);
  }

  absl::Status Cast(Backend& backend) {
    return backend.Cast({.in = TensorView(in_, DType::kF32, {1, 2}), .out = TensorView(out_, DType::kF32, {1, 2})});
  }

  float in_[2] = {3, 4}, out_[2] = {0, 0};
  int theirs_ = 0;
};

TEST_F(TorchStreamTest, AnOpIsQueuedOnTheStreamThatWasGiven) {
  const BackendResult backend = Create(&theirs_);
  ASSERT_EQ(backend.status(), absl::OkStatus());
  StandIn::current = 5;  // of somebody else on this thread
  ASSERT_EQ(Cast(**backend), absl::OkStatus());
  EXPECT_EQ(out_[1], 4);
  EXPECT_EQ(StandIn::current, 5);
  ASSERT_EQ(Cast(**backend), absl::OkStatus());
  const auto handle = reinterpret_cast<at::StreamId>(&theirs_);
  EXPECT_THAT(streams_of_copies, ElementsAre(handle, handle));
}

TEST_F(TorchStreamTest, WithoutOneItIsTheDefaultStream) {
  const BackendResult backend = Create(nullptr);
  ASSERT_EQ(backend.status(), absl::OkStatus());
  StandIn::current = 5;
  ASSERT_EQ(Cast(**backend), absl::OkStatus());
  EXPECT_THAT(streams_of_copies, ElementsAre(0));
}

TEST_F(TorchStreamTest, AFailedOpPutsTheStreamBack) {
  const BackendResult backend = Create(&theirs_);
  ASSERT_EQ(backend.status(), absl::OkStatus());
  streams_of_copies = {0, 0};  // the next one fails
  StandIn::current = 5;
  EXPECT_THAT(Cast(**backend).message(), HasSubstr("a device that failed"));
  EXPECT_EQ(StandIn::current, 5);
}

// Rather than queue on some other stream.
TEST_F(TorchStreamTest, ALibtorchThatDoesNotKnowTheHandleIsRefused) {
  StandIn::knows_handles = false;
  const absl::Status status = Create(&theirs_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("torch: stream: not known by its handle"));
}

}  // namespace
}  // namespace hadal::kernels::torch
