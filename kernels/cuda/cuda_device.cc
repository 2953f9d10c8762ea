// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/gpu_presence.h"
#include "kernels/cuda/mps_error.h"

namespace hadal::kernels {
namespace cuda {
namespace {

constexpr int64_t kReservedBytes = int64_t{1} << 30;  // of the device, for the libraries' kernels, without a budget
constexpr int kLeastMajor = 8;  // of the compute capability: bf16 arithmetic and asynchronous copies
constexpr int kMostDevices = 64;
constexpr int64_t kScratchUnitBytes = int64_t{1} << 20;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// How much of a device stays free for the libraries' kernels, where no budget says so. Decided when the process first
// opens the device: what is asked for later, with weights loaded, then adds up with what they take. 0: never opened.
std::array<std::atomic<int64_t>, kMostDevices>& ReservedBytes() {
  static std::array<std::atomic<int64_t>, kMostDevices> bytes{};
  return bytes;
}

int64_t ReserveOn(int device, int64_t free_bytes) {
  std::atomic<int64_t>& reserved = ReservedBytes()[device];
  int64_t known = 0;
  const int64_t wanted = std::clamp<int64_t>(free_bytes / 2, 1, kReservedBytes);
  return reserved.compare_exchange_strong(known, wanted) ? wanted : known;
}

cudaStream_t Native(Stream stream) { return static_cast<cudaStream_t>(stream); }

absl::Status NotWhileRecording(const char* what) {
  return absl::FailedPreconditionError(absl::StrCat("cuda: ", what, " among launches that are recorded"));
}

}  // namespace

absl::Status CudaError(int code, const char* call, const char* file, int line) {
  // The runtime keeps it for cudaGetLastError, which libraries ask after their launches: it would be the next one's.
  cudaGetLastError();
  const char* tail = std::strstr(file, "kernels/cuda/");
  const auto error = static_cast<cudaError_t>(code);
  const MpsError* mps = FindMpsError(code);
  const std::string text = absl::StrCat("cuda: ", call, ": ", cudaGetErrorName(error), ": ",
                                        mps != nullptr ? mps->advice : cudaGetErrorString(error), " (",
                                        tail != nullptr ? tail : file, ":", line, ")");
  if (mps != nullptr) return absl::Status(mps->code, text);
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(text) : absl::InternalError(text);
}

absl::Status CudaDevice::FindDevice(int index) {
  if (index < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cuda: device_index: expected 0 or more, found ", index));
  }
  int count = 0;
  if (const cudaError_t found = cudaGetDeviceCount(&count); found != cudaSuccess) {
    cudaGetLastError();  // not sticky: a later attempt may work
    if (FindMpsError(found) != nullptr) return CudaError(found, "cudaGetDeviceCount", __FILE__, __LINE__);
    // Without a driver's library the runtime says that the driver is too old.
    const bool of_absence = found == cudaErrorNoDevice || found == cudaErrorInsufficientDriver;
    return NoUsableGpu(of_absence, absl::StrCat(cudaGetErrorName(found), ": ", cudaGetErrorString(found)));
  }
  count = std::min(count, kMostDevices);
  if (index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("cuda: expected a device below ", count, " (the number of GPUs), found ", index));
  }
  device_ = index;
  return absl::OkStatus();
}

absl::Status CudaDevice::LearnFacts() {
  cudaDeviceProp properties = {};
  HADAL_CUDA_RETURN_IF_ERROR(cudaGetDeviceProperties(&properties, device_));
  const std::string capability =
      absl::StrCat(properties.name, " has compute capability ", properties.major, ".", properties.minor);
  if (properties.major < kLeastMajor) {
    return absl::FailedPreconditionError(absl::StrCat("cuda: ", capability, ", and these kernels need ", kLeastMajor,
                                                      ".0 or more; --device torch serves older GPUs"));
  }
  if (const int missing = FindKernelImage(); missing != 0) {
    if (FindMpsError(missing) != nullptr) return CudaError(missing, "first use", __FILE__, __LINE__);
    return absl::FailedPreconditionError(
        absl::StrCat("cuda: ", capability, ", for which this build holds no code: it was built for ",
                     HADAL_CUDA_ARCHITECTURES, " (CMAKE_CUDA_ARCHITECTURES); --device torch serves it: ",
                     cudaGetErrorString(static_cast<cudaError_t>(missing))));
  }
  description_ =
      absl::StrCat(device(), ", ", properties.name, ", compute capability ", properties.major, ".", properties.minor);
  device_model_ = properties.name;
  capability_ = 10 * properties.major + properties.minor;
  int driver = 0;
  HADAL_CUDA_RETURN_IF_ERROR(cudaDriverGetVersion(&driver));
  driver_version_ = driver;
  max_shared_bytes_ = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  // Asked once there is a context: under MPS it has a share of them.
  int multiprocessors = 0, mps = 0;
  HADAL_CUDA_RETURN_IF_ERROR(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device_));
  HADAL_CUDA_RETURN_IF_ERROR(cudaDeviceGetAttribute(&mps, cudaDevAttrMpsEnabled, device_));
  multiprocessors_ = multiprocessors;
  mps_ = mps != 0;
  char pci_bus_id[32] = {};
  HADAL_CUDA_RETURN_IF_ERROR(cudaDeviceGetPCIBusId(pci_bus_id, sizeof(pci_bus_id), device_));
  pci_bus_id_ = pci_bus_id;
  return absl::OkStatus();
}

absl::Status CudaDevice::Open(const Options& options) {
  if (absl::Status s = FindDevice(options.device_index); !s.ok()) return s;
  if (absl::Status s = Enter(); !s.ok()) return s;
  if (absl::Status s = LearnFacts(); !s.ok()) return s;
  size_t free_bytes = 0, total_bytes = 0;
  HADAL_CUDA_RETURN_IF_ERROR(cudaMemGetInfo(&free_bytes, &total_bytes));
  const auto usable = static_cast<int64_t>(free_bytes);
  const int64_t reserved = ReserveOn(device_, usable);
  budget_.SetLimit(options.memory_budget_bytes > 0 ? options.memory_budget_bytes
                                                   : std::max<int64_t>(0, usable - reserved));
  cudaStream_t stream = nullptr;
  HADAL_CUDA_RETURN_IF_ERROR(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  stream_ = stream;
  void* staging = nullptr;
  HADAL_CUDA_RETURN_IF_ERROR(cudaMallocHost(&staging, kStagingBytes));
  staging_ = static_cast<char*>(staging);
  return absl::OkStatus();
}

// Failures on the way out have nobody to be told to.
CudaDevice::~CudaDevice() {
  if (device_ < 0) return;
  cudaSetDevice(device_);
  if (stream_ != nullptr) cudaStreamSynchronize(Native(stream_));
  for (const Staged& staged : staged_) cudaEventDestroy(static_cast<cudaEvent_t>(staged.event));
  for (void* event : idle_events_) cudaEventDestroy(static_cast<cudaEvent_t>(event));
  if (staging_ != nullptr) cudaFreeHost(staging_);
  scratch_.Reset();
  if (stream_ != nullptr) cudaStreamDestroy(Native(stream_));
}

std::string CudaDevice::device() const { return absl::StrCat("cuda:", device_); }

absl::Status CudaDevice::Enter() {
  drained_ = false;
  HADAL_CUDA_RETURN_IF_ERROR(cudaSetDevice(device_));
  return absl::OkStatus();
}

absl::Status CudaDevice::CheckShared(absl::string_view op, int64_t bytes) const {
  if (bytes <= max_shared_bytes_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(op, ": expected a shape that needs at most ", max_shared_bytes_,
                                                 " bytes of shared memory, found one that needs ", bytes));
}

absl::Status CudaDevice::RecordError(absl::Status status) {
  if (!recording_ && !status.ok() && !absl::IsInvalidArgument(status) && first_failure_.ok()) first_failure_ = status;
  return status;
}

absl::StatusOr<Buffer> CudaDevice::Allocate(int64_t bytes) {
  if (absl::Status s = budget_.Take(bytes); !s.ok()) return s;
  if (bytes == 0) return Buffer();
  void* data = nullptr;
  cudaError_t allocated = cudaSetDevice(device_);
  if (allocated == cudaSuccess) allocated = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (allocated != cudaSuccess) {
    budget_.Return(bytes);
    return CudaError(allocated, absl::StrCat("cudaMalloc of ", bytes, " bytes").c_str(), __FILE__, __LINE__);
  }
  return Buffer(this, data, bytes);
}

void CudaDevice::Free(void* data, int64_t bytes) {
  cudaSetDevice(device_);
  cudaFree(data);  // waits for the device, so queued work still finds the memory
  budget_.Return(bytes);
}

absl::StatusOr<DeviceMemory> CudaDevice::Memory() { return DeviceMemory{budget_.limit_bytes(), budget_.used_bytes()}; }

absl::StatusOr<char*> CudaDevice::Scratch(int64_t bytes) {
  if (bytes > scratch_.bytes()) {
    if (recording_) return NotWhileRecording("scratch memory that grows");
    scratch_.Reset();  // waits for work that uses it
    absl::StatusOr<Buffer> grown = Allocate(RoundUp(bytes, kScratchUnitBytes));
    if (!grown.ok()) {
      return absl::Status(grown.status().code(), absl::StrCat("scratch memory: ", grown.status().message()));
    }
    scratch_ = *std::move(grown);
  }
  return static_cast<char*>(scratch_.data());
}

void CudaDevice::ReleaseOldestStaged() {
  idle_events_.push_back(staged_.front().event);
  staged_.pop_front();
  staging_plan_.ReleaseOldest();
}

absl::Status CudaDevice::WaitForOldestStaged() {
  if (!staged_.front().queued) {
    queued_.Wait(&staging_mutex_);  // its thread needs the lock; who is the oldest after that, the caller finds
    return absl::OkStatus();
  }
  HADAL_CUDA_RETURN_IF_ERROR(cudaEventSynchronize(static_cast<cudaEvent_t>(staged_.front().event)));
  ReleaseOldestStaged();
  return absl::OkStatus();
}

absl::Status CudaDevice::RecycleStaged() {
  while (!staged_.empty() && staged_.front().queued) {
    const cudaError_t done = cudaEventQuery(static_cast<cudaEvent_t>(staged_.front().event));
    if (done == cudaErrorNotReady) {
      cudaGetLastError();  // it would be taken for the next launch's
      return absl::OkStatus();
    }
    HADAL_CUDA_RETURN_IF_ERROR(done);
    ReleaseOldestStaged();
  }
  return absl::OkStatus();
}

absl::StatusOr<CudaDevice::Staged*> CudaDevice::TakeStaged(int64_t bytes) {
  if (recording_) return NotWhileRecording("an upload");
  const int64_t taken = RoundUp(std::max<int64_t>(bytes, 1), 256);
  if (taken > kStagingBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cuda: a staged upload of ", bytes, " bytes, limit ", kStagingBytes));
  }
  if (absl::Status s = RecycleStaged(); !s.ok()) return s;
  while (!staging_plan_.Fits(taken)) {
    if (absl::Status s = WaitForOldestStaged(); !s.ok()) return s;
  }
  if (idle_events_.empty()) {
    cudaEvent_t fresh = nullptr;
    HADAL_CUDA_RETURN_IF_ERROR(cudaEventCreateWithFlags(&fresh, cudaEventDisableTiming));
    idle_events_.push_back(fresh);
  }
  // In step with the plan, also when the copy fails.
  staged_.push_back({idle_events_.front(), staging_ + staging_plan_.Take(taken), false});
  idle_events_.pop_front();
  return &staged_.back();
}

absl::Status CudaDevice::StageWith(int64_t bytes, absl::FunctionRef<absl::Status(char* pinned)> fill) {
  if (absl::Status s = Enter(); !s.ok()) return s;
  Staged* staged = nullptr;
  {
    base::MutexLock lock(&staging_mutex_);
    absl::StatusOr<Staged*> taken = TakeStaged(bytes);
    if (!taken.ok()) return taken.status();
    staged = *taken;
  }
  const absl::Status filled = fill(staged->pinned);
  base::MutexLock lock(&staging_mutex_);
  // Also when there is no copy: the region is given back in its turn.
  const cudaError_t recorded = cudaEventRecord(static_cast<cudaEvent_t>(staged->event), Native(stream_));
  staged->queued = true;
  queued_.NotifyAll();
  HADAL_CUDA_RETURN_IF_ERROR(recorded);
  return filled;
}

absl::Status CudaDevice::UploadFilled(void* device_target, int64_t bytes,
                                      absl::FunctionRef<absl::Status(void* staged)> fill) {
  if (absl::Status s = CheckFilledBytes(bytes); !s.ok()) return s;
  absl::Status filled;
  const absl::Status s = StageWith(bytes, [&](char* pinned) -> absl::Status {
    if (filled = fill(pinned); !filled.ok()) return filled;
    HADAL_CUDA_RETURN_IF_ERROR(
        cudaMemcpyAsync(device_target, pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, Native(stream_)));
    return absl::OkStatus();
  });
  if (s.ok() || !filled.ok()) return s;   // what the caller's data lacks is no failure of the device
  base::MutexLock lock(&staging_mutex_);  // other threads upload too
  return RecordError(s);
}

absl::Status CudaDevice::Upload(void* device_target, const void* source, int64_t bytes) {
  if (absl::Status s = CheckByteCount("upload", bytes); !s.ok()) return s;
  for (int64_t done = 0; done < bytes; done += kMaxFilledBytes) {
    const int64_t piece = std::min(kMaxFilledBytes, bytes - done);
    const absl::Status s = UploadFilled(static_cast<char*>(device_target) + done, piece, [&](void* staged) {
      std::memcpy(staged, static_cast<const char*>(source) + done, static_cast<size_t>(piece));
      return absl::OkStatus();
    });
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status CudaDevice::Download(void* target, const void* device_source, int64_t bytes) {
  if (absl::Status s = CheckByteCount("download", bytes); !s.ok()) return s;
  if (bytes == 0) return absl::OkStatus();
  const auto run = [&]() -> absl::Status {
    if (recording_) return NotWhileRecording("a download");
    if (absl::Status s = Enter(); !s.ok()) return s;
    HADAL_CUDA_RETURN_IF_ERROR(
        cudaMemcpyAsync(target, device_source, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, Native(stream_)));
    HADAL_CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(Native(stream_)));
    drained_ = true;
    return absl::OkStatus();
  };
  return RecordError(run());
}

absl::Status CudaDevice::Copy(void* device_target, const void* device_source, int64_t bytes) {
  if (absl::Status s = CheckByteCount("copy", bytes); !s.ok()) return s;
  if (bytes == 0) return absl::OkStatus();
  const auto run = [&]() -> absl::Status {
    if (absl::Status s = Enter(); !s.ok()) return s;
    HADAL_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(device_target, device_source, static_cast<size_t>(bytes),
                                               cudaMemcpyDeviceToDevice, Native(stream_)));
    return absl::OkStatus();
  };
  return RecordError(run());
}

absl::Status CudaDevice::Zero(void* device_target, int64_t bytes) {
  if (absl::Status s = CheckByteCount("zero", bytes); !s.ok()) return s;
  if (bytes == 0) return absl::OkStatus();
  const auto run = [&]() -> absl::Status {
    if (absl::Status s = Enter(); !s.ok()) return s;
    HADAL_CUDA_RETURN_IF_ERROR(cudaMemsetAsync(device_target, 0, static_cast<size_t>(bytes), Native(stream_)));
    return absl::OkStatus();
  };
  return RecordError(run());
}

absl::Status CudaDevice::Synchronize() {
  const auto run = [&]() -> absl::Status {
    if (drained_) return absl::OkStatus();  // a step that ends with a download has waited already
    if (absl::Status s = Enter(); !s.ok()) return s;
    HADAL_CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(Native(stream_)));
    drained_ = true;
    return absl::OkStatus();
  };
  const absl::Status now = run();
  absl::Status first = first_failure_;
  first_failure_ = absl::OkStatus();
  return first.ok() ? now : first;
}

}  // namespace cuda

// Failures have nobody to be told to: the process ends.
void SettleCudaDevices() {
  for (int i = 0; i < cuda::kMostDevices; ++i) {
    if (cuda::ReservedBytes()[i].load() > 0 && cudaSetDevice(i) == cudaSuccess) cudaDeviceSynchronize();
  }
}

}  // namespace hadal::kernels
