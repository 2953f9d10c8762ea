// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/sync.h"
#include "kernels/backend.h"
#include "kernels/byte_budget.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/staging_plan.h"

namespace hadal::kernels::cuda {

// Memory, copies and the one stream of a CUDA device: what the backend's ops stand on.
//
// Buffers come from cudaMalloc and count against the budget; so does what the backend takes for itself. Without a
// budget a part of the device stays reserved for the libraries' kernels. Allocate, Memory and Free may be called from
// any thread, Upload, UploadFilled and StageWith by several at once while no op is issued, the rest by one thread at a
// time.
class CudaDevice : public Backend {
 public:
  ~CudaDevice() override;

  absl::string_view name() const override { return "cuda"; }
  std::string description() const override { return description_; }
  std::string device() const override;
  bool host_accessible() const override { return false; }

  BackendFacts Facts() const override { return {multiprocessors_, mps_, pci_bus_id_}; }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override;
  absl::StatusOr<DeviceMemory> Memory() override;
  absl::Status Upload(void* device_target, const void* source, int64_t bytes) override;
  absl::Status UploadFilled(void* device_target, int64_t bytes,
                            absl::FunctionRef<absl::Status(void* staged)> fill) override;
  absl::Status Download(void* target, const void* device_source, int64_t bytes) override;
  absl::Status Copy(void* device_target, const void* device_source, int64_t bytes) override;
  absl::Status Zero(void* device_target, int64_t bytes) override;
  absl::Status Synchronize() override;

  // ---- For the ops of kernels/cuda ----
  Stream stream() const { return stream_; }
  int64_t multiprocessors() const { return multiprocessors_; }
  const std::string& device_model() const { return device_model_; }  // "NVIDIA H200"
  int64_t capability() const { return capability_; }                 // compute capability, 90 for 9.0
  int64_t driver_version() const { return driver_version_; }         // as CUDA numbers it

  // Device memory of at least `bytes` for the op that is being issued, 256-byte aligned; the next op may reuse it. One
  // piece an op: a second call may move it. It stays in place while ops keep to what was reserved.
  absl::StatusOr<char*> Scratch(int64_t bytes);
  // For an upload that is made in place: `fill` is given pinned memory of `bytes`, fills it and queues the copy from it
  // on stream(), beside the fills of other threads. The memory is kept until that copy is done. ResourceExhausted for
  // more than the ring holds.
  absl::Status StageWith(int64_t bytes, absl::FunctionRef<absl::Status(char* pinned)> fill);
  // Makes this device the calling thread's current one, to queue something.
  absl::Status Enter();
  // InvalidArgument when a kernel would need more shared memory in a block than the device has.
  absl::Status CheckShared(absl::string_view op, int64_t bytes) const;
  // Remembers the first failure for Synchronize and passes it on.
  absl::Status RecordError(absl::Status status);

 protected:
  CudaDevice() = default;

  // While launches are recorded instead of run, what would have to wait or to move memory is refused, and a failure is
  // the recording's, not the step's.
  void set_recording(bool recording) { recording_ = recording; }
  bool recording() const { return recording_; }

  // Before anything else. NotFound when the machine has no GPU, FailedPrecondition when there is no such device or none
  // of the code runs on it, Unavailable when the MPS server takes no client now.
  absl::Status Open(const Options& options);

 private:
  void Free(void* data, int64_t bytes) override;
  absl::Status FindDevice(int index);
  // Names, sizes and limits of device_, whose context this makes.
  absl::Status LearnFacts();
  // A region of the ring: some thread fills it, then a copy from it is under way until the event.
  struct Staged {
    void* event = nullptr;  // cudaEvent_t
    char* pinned = nullptr;
    bool queued = false;  // the event says when the copy is done
  };
  // Takes a region, which stays where it is in staged_. Waits for room.
  absl::StatusOr<Staged*> TakeStaged(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(staging_mutex_);
  absl::Status WaitForOldestStaged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(staging_mutex_);
  // Gives back the regions whose copies are done, without waiting.
  absl::Status RecycleStaged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(staging_mutex_);
  void ReleaseOldestStaged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(staging_mutex_);

  int device_ = -1;
  Stream stream_ = nullptr;
  std::string description_, device_model_;
  int64_t driver_version_ = 0, capability_ = 0;
  int64_t max_shared_bytes_ = 0, multiprocessors_ = 0;
  bool mps_ = false;
  std::string pci_bus_id_;
  ByteBudget budget_;

  base::Mutex staging_mutex_;
  StagingPlan staging_plan_ ABSL_GUARDED_BY(staging_mutex_){kStagingBytes};
  char* staging_ = nullptr;                                    // pinned, kStagingBytes
  std::deque<Staged> staged_ ABSL_GUARDED_BY(staging_mutex_);  // the regions of the plan
  std::deque<void*> idle_events_ ABSL_GUARDED_BY(staging_mutex_);
  base::CondVar queued_;  // some region's copy

  Buffer scratch_;
  absl::Status first_failure_;
  bool recording_ = false;
  std::atomic<bool> drained_{false};  // the host has waited for the stream, and nothing was queued since

  static constexpr int64_t kStagingBytes = int64_t{32} << 20;
};

}  // namespace hadal::kernels::cuda
