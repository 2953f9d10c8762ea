// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "kernels/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/staging_plan.h"

namespace hadal::kernels::cuda {

// Memory, copies and the one stream of a CUDA device: what the backend's ops stand on.
//
// Buffers come from cudaMalloc and count against the budget; scratch, staging and library workspaces do not, so without
// a budget a part of the device stays reserved for them. Allocate, Memory and Free may be called from any thread, the
// rest by one thread at a time.
class CudaDevice : public Backend {
 public:
  ~CudaDevice() override;

  absl::string_view name() const override { return "cuda"; }
  std::string description() const override { return description_; }
  bool host_accessible() const override { return false; }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override;
  absl::StatusOr<DeviceMemory> Memory() override;
  absl::Status Upload(void* device_target, const void* source, int64_t bytes) override;
  absl::Status Download(void* target, const void* device_source, int64_t bytes) override;
  absl::Status Copy(void* device_target, const void* device_source, int64_t bytes) override;
  absl::Status Zero(void* device_target, int64_t bytes) override;
  absl::Status Synchronize() override;

  // ---- For the ops of kernels/cuda ----
  Stream stream() const { return stream_; }
  int64_t multiprocessors() const { return multiprocessors_; }

  // Device memory of at least `bytes` for the op that is being issued, 256-byte aligned; the next op may reuse it. One
  // piece an op: a second call may move it.
  absl::StatusOr<char*> Scratch(int64_t bytes);
  // Makes this device the calling thread's current one.
  absl::Status Enter();
  // InvalidArgument when a kernel would need more shared memory in a block than the device has.
  absl::Status CheckShared(absl::string_view op, int64_t bytes) const;
  // Remembers the first failure for Synchronize and passes it on.
  absl::Status RecordError(absl::Status status);

 protected:
  CudaDevice() = default;

  // Before anything else. FailedPrecondition when there is no such device or none of the code runs on it.
  absl::Status Open(const Options& options);

 private:
  void Free(void* data, int64_t bytes) override;
  absl::Status Stage(char* device_target, const char* source, int64_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(staging_mutex_);
  absl::Status WaitForOldestStaged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(staging_mutex_);

  int device_ = -1;
  Stream stream_ = nullptr;
  std::string description_;
  int64_t max_shared_bytes_ = 0, multiprocessors_ = 0;
  int64_t limit_bytes_ = 0;
  std::atomic<int64_t> used_bytes_{0};

  base::Mutex staging_mutex_;
  StagingPlan staging_plan_ ABSL_GUARDED_BY(staging_mutex_){kStagingBytes};
  char* staging_ = nullptr;                                          // pinned, kStagingBytes
  std::deque<void*> staged_events_ ABSL_GUARDED_BY(staging_mutex_);  // cudaEvent_t of each region of the plan
  std::deque<void*> idle_events_ ABSL_GUARDED_BY(staging_mutex_);

  char* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
  absl::Status first_failure_;

  static constexpr int64_t kStagingBytes = int64_t{32} << 20;
};

}  // namespace hadal::kernels::cuda
