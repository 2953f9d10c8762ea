// SPDX-License-Identifier: Apache-2.0
//
// Another library's ops take their turn on the CUDA backend's stream (HADAL_CUDA_TORCH_OPS), on the emulated device.
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/host_backend.h"
#include "kernels/swapped_ops.h"
#include "kernels/uniform_backend.h"
#include "tests/kernels/cuda/emulator/control.h"
#include "tests/kernels/cuda/emulator/cuda_runtime_api.h"

namespace hadal::kernels {
namespace {

using cuda_emulator::TheDevice;
using cuda_emulator::Work;

// As libtorch with a stream of somebody else: a cast of equal types is a copy that is queued there.
class QueuedCasts final : public UniformBackend<QueuedCasts, HostBackend> {
 public:
  explicit QueuedCasts(void* stream) : UniformBackend(/*budget_bytes=*/1000), stream_(stream) {}
  absl::string_view name() const override { return "queued"; }
  std::string description() const override { return "queued"; }

 private:
  friend UniformBackend<QueuedCasts, HostBackend>;

  template <typename Params>
  absl::Status RunOp(const Params& params) {
    if constexpr (std::is_same_v<Params, CastParams>) {
      const auto bytes = static_cast<size_t>(params.in.numel()) * sizeof(float);
      if (cudaMemcpyAsync(params.out.data, params.in.data, bytes, cudaMemcpyDeviceToDevice,
                          static_cast<cudaStream_t>(stream_)) == cudaSuccess) {
        return absl::OkStatus();
      }
    }
    return absl::InternalError("not queued");
  }

  void* const stream_;
};

class CudaQueueTest : public ::testing::Test {
 protected:
  CudaQueueTest() {
    std::unique_ptr<Backend> cuda = *CreateBackend("cuda", {});
    CudaQueue queue = CudaQueueOf(*cuda);
    stream_ = queue.stream;
    swapped_ = *SwapOps(std::move(cuda), std::make_unique<QueuedCasts>(queue.stream), "cast", queue.enter);
    for (Buffer& buffer : buffers_) buffer = *swapped_->Allocate(kBytes);
  }
  ~CudaQueueTest() override { TheDevice() = {}; }

  TensorView View(int i) const { return TensorView(buffers_[i].data(), DType::kF32, {1, kValues}); }

  static constexpr int64_t kValues = 16, kBytes = kValues * 4;
  void* stream_ = nullptr;
  std::unique_ptr<Backend> swapped_;
  Buffer buffers_[4];
};

TEST_F(CudaQueueTest, ASwappedOpTakesItsTurnAndNobodyWaits) {
  ASSERT_NE(stream_, nullptr);
  std::vector<float> values(kValues), found(kValues);
  std::iota(values.begin(), values.end(), 1.0f);
  const Work before = TheDevice();
  ASSERT_EQ(swapped_->Upload(buffers_[0].data(), values.data(), kBytes), absl::OkStatus());
  ASSERT_EQ(swapped_->Cast({.in = View(0), .out = View(1)}), absl::OkStatus());  // the other one's
  ASSERT_EQ(swapped_->SiluMul({View(1), View(0), View(2)}), absl::OkStatus());   // ours
  ASSERT_EQ(swapped_->Cast({.in = View(2), .out = View(3)}), absl::OkStatus());
  const Work done = TheDevice() - before;
  EXPECT_EQ(done.syncs, 0);
  EXPECT_EQ(done.copies, 2);
  EXPECT_EQ(done.launches, 1);
  EXPECT_EQ(TheDevice().strays, 0);
  ASSERT_EQ(swapped_->Download(found.data(), buffers_[3].data(), kBytes), absl::OkStatus());
  for (int64_t i = 0; i < kValues; ++i) {
    EXPECT_NEAR(found[i], values[i] * values[i] / (1 + std::exp(-values[i])), 1e-4 * found[i]);
  }
}

// The backend knows when it has waited for all that it queued. What the other one queues is queued, too.
TEST_F(CudaQueueTest, AWaitAfterASwappedOpWaits) {
  ASSERT_EQ(swapped_->Synchronize(), absl::OkStatus());
  const int64_t before = TheDevice().syncs;
  ASSERT_EQ(swapped_->Synchronize(), absl::OkStatus());
  EXPECT_EQ(TheDevice().syncs, before);  // nothing was queued
  ASSERT_EQ(swapped_->Cast({.in = View(0), .out = View(1)}), absl::OkStatus());
  ASSERT_EQ(swapped_->Synchronize(), absl::OkStatus());
  EXPECT_EQ(TheDevice().syncs, before + 1);
}

TEST_F(CudaQueueTest, OnlyACudaBackendHasOne) {
  EXPECT_EQ(CudaQueueOf(**CreateBackend("cpu", {.threads = 1})).stream, nullptr);
}

}  // namespace
}  // namespace hadal::kernels
