// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_readback.h"

#include <cuda_runtime_api.h>

#include "kernels/cuda/check.h"

namespace hadal::kernels::cuda {
namespace {

class CudaReadback final : public Readback {
 public:
  explicit CudaReadback(CudaDevice& device) : device_(device) {}
  ~CudaReadback() override {
    if (copied_ != nullptr) {
      cudaEventSynchronize(copied_);  // the copy may still write to the memory
      cudaEventDestroy(copied_);
    }
    if (pinned_ != nullptr) cudaFreeHost(pinned_);
  }

  absl::Status Open(int64_t bytes) {
    if (absl::Status s = device_.Enter(); !s.ok()) return s;
    HADAL_CUDA_RETURN_IF_ERROR(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming));
    return Grow(bytes);
  }

  absl::Status Begin(const void* device_source, int64_t bytes) override {
    return device_.RecordError(Queue(device_source, bytes));
  }

  absl::StatusOr<const void*> Wait() override {
    HADAL_CUDA_RETURN_IF_ERROR(cudaEventSynchronize(copied_));
    return pinned_;
  }

 private:
  absl::Status Grow(int64_t bytes) {
    if (bytes <= bytes_) return absl::OkStatus();
    if (pinned_ != nullptr) cudaFreeHost(pinned_);
    pinned_ = nullptr;
    bytes_ = 0;
    HADAL_CUDA_RETURN_IF_ERROR(cudaMallocHost(&pinned_, static_cast<size_t>(bytes)));
    bytes_ = bytes;
    return absl::OkStatus();
  }

  absl::Status Queue(const void* device_source, int64_t bytes) {
    if (absl::Status s = device_.Enter(); !s.ok()) return s;
    if (absl::Status s = Grow(bytes); !s.ok()) return s;
    const auto stream = static_cast<cudaStream_t>(device_.stream());
    if (bytes > 0) {
      HADAL_CUDA_RETURN_IF_ERROR(
          cudaMemcpyAsync(pinned_, device_source, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream));
    }
    HADAL_CUDA_RETURN_IF_ERROR(cudaEventRecord(copied_, stream));
    return absl::OkStatus();
  }

  CudaDevice& device_;
  cudaEvent_t copied_ = nullptr;
  void* pinned_ = nullptr;
  int64_t bytes_ = 0;  // of pinned_
};

}  // namespace

absl::StatusOr<std::unique_ptr<Readback>> MakeCudaReadback(CudaDevice& device, int64_t bytes) {
  auto readback = std::make_unique<CudaReadback>(device);
  if (absl::Status s = readback->Open(bytes); !s.ok()) return s;
  return std::unique_ptr<Readback>(std::move(readback));
}

}  // namespace hadal::kernels::cuda
