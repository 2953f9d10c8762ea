// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/emulator/control.h"
#include "tests/kernels/cuda/emulator/cuda_runtime.h"
#include "tests/kernels/cuda/emulator/grid.h"

namespace hadal::kernels {
namespace cuda_emulator {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

int64_t NumberOf(const char* name, int64_t otherwise) {
  const std::string text = Environment(name);
  return text.empty() ? otherwise : std::strtoll(text.c_str(), nullptr, 10);
}

// What MPS leaves of the device: a share of the multiprocessors, and of the memory by "0=NUMBER[G|M]".
void ApplyMps(Control& control) {
  const std::string directory = Environment("CUDA_MPS_PIPE_DIRECTORY");
  control.mps = !directory.empty() && std::filesystem::exists(directory + "/control");
  if (!control.mps) return;
  const int64_t percent = NumberOf("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", 100);
  control.context_multiprocessors = std::max<int>(1, static_cast<int>(control.multiprocessors * percent / 100));
  const std::string limit = Environment("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
  if (limit.rfind("0=", 0) != 0) return;
  const int shift = limit.back() == 'G' ? 30 : 20;
  control.free_bytes = std::min<int64_t>(control.free_bytes, std::strtoll(limit.c_str() + 2, nullptr, 10) << shift);
}

Control FromEnvironment() {
  Control control;
  control.multiprocessors = control.context_multiprocessors = static_cast<int>(NumberOf("EMULATED_GPU_SMS", 1));
  control.free_bytes = NumberOf("EMULATED_GPU_FREE_BYTES", control.free_bytes);
  ApplyMps(control);
  return control;
}

// 0, or the error that the file of the environment holds.
int ErrorOfFile() {
  static const std::string path = Environment("EMULATED_GPU_ERROR_FILE");
  int error = 0;
  if (!path.empty()) std::ifstream(path) >> error;
  return error;
}

}  // namespace

Control& TheDevice() {
  static Control control = FromEnvironment();
  return control;
}

namespace {

// What the stream's capture has recorded so far; null when it runs its work.
std::vector<std::function<void()>>* captured = nullptr;
bool capture_broken = false;
// The mode is cudaStreamCaptureModeThreadLocal: other threads may wait for events meanwhile.
thread_local bool captures_here = false;

// Refuses a call that a capture does not allow, which breaks it.
bool BreaksCapture() {
  if (!captures_here) return false;
  capture_broken = true;
  return true;
}

}  // namespace

void Enqueue(std::function<void()> work) {
  if (captured != nullptr) {
    captured->push_back(std::move(work));
    return;
  }
  ++TheDevice().launches;
  work();
}

// What a call returns is also kept for cudaGetLastError, until somebody asks: as the runtime does, for each thread.
thread_local cudaError_t last_error = cudaSuccess;
cudaError_t Fails(int error) {
  if (error != 0) last_error = static_cast<cudaError_t>(error);
  return static_cast<cudaError_t>(error);
}

// Shared memory that kernels may have beyond what all have, once it has been asked for.
std::map<const void*, size_t>& RaisedShared() {
  static std::map<const void*, size_t> bytes;
  return bytes;
}

cudaError_t RaiseShared(const void* kernel, size_t bytes) {
  if (bytes > kSharedBytes) return Fails(cudaErrorInvalidValue);
  RaisedShared()[kernel] = bytes;
  return cudaSuccess;
}

cudaError_t RunGrid(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> thread) {
  if (const int error = std::exchange(TheDevice().launch_error, 0); error != 0) return Fails(error);
  if (const int error = ErrorOfFile(); error != 0) return Fails(error);
  const auto raised = RaisedShared().find(kernel);
  const size_t shared =
      raised != RaisedShared().end() ? std::max(raised->second, kPlainSharedBytes) : kPlainSharedBytes;
  if (config.blockDim.x < 1 || config.blockDim.x > 1024 || config.gridDim.x < 1 || config.gridDim.y < 1 ||
      config.gridDim.x > 2147483647u || config.gridDim.y > 65535) {
    return Fails(cudaErrorInvalidConfiguration);
  }
  if (config.dynamicSmemBytes > shared) return Fails(cudaErrorInvalidValue);
  Enqueue([config, thread = std::move(thread)] { ExecuteGrid(config, thread); });
  return cudaSuccess;
}

}  // namespace cuda_emulator
}  // namespace hadal::kernels

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t) { return "emulated error"; }

using hadal::kernels::cuda_emulator::BreaksCapture;
using hadal::kernels::cuda_emulator::capture_broken;
using hadal::kernels::cuda_emulator::captured;
using hadal::kernels::cuda_emulator::captures_here;
using hadal::kernels::cuda_emulator::Fails;
using hadal::kernels::cuda_emulator::last_error;
using hadal::kernels::cuda_emulator::TheDevice;

namespace {
std::atomic<int64_t> recorded{0}, reached{0};  // events of the one stream, counted; another thread may wait
const int the_stream = 0;
std::mutex sizes_mutex;
std::map<void*, int64_t> sizes;  // of what is allocated
std::map<const char*, int64_t> pinned_sizes;

bool Pinned(const void* source, int64_t bytes) {
  const auto* first = static_cast<const char*>(source);
  std::lock_guard<std::mutex> lock(sizes_mutex);
  auto region = pinned_sizes.upper_bound(first);
  if (region == pinned_sizes.begin()) return false;
  --region;
  return first + bytes <= region->first + region->second;
}

// The thread that issues and the one that takes results may both wait.
void CountSync() { std::atomic_ref<int64_t>(TheDevice().syncs).fetch_add(1); }

void CountStray(cudaStream_t stream) {
  if (stream != reinterpret_cast<cudaStream_t>(const_cast<int*>(&the_stream))) {
    std::atomic_ref<int64_t>(TheDevice().strays).fetch_add(1);
  }
}

int64_t AllocatedBytes() {
  std::lock_guard<std::mutex> lock(sizes_mutex);
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0},
                         [](int64_t sum, const auto& entry) { return sum + entry.second; });
}
}  // namespace

struct EmulatedEvent {
  int64_t number = 0;
};
struct EmulatedGraph {
  std::vector<std::function<void()>> nodes;
};
struct EmulatedGraphExec {
  std::vector<std::function<void()>> nodes;
};

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  const int error = hadal::kernels::cuda_emulator::ErrorOfFile();
  return Fails(error != 0 ? error : TheDevice().device_error);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "emulated GPU");
  properties->major = TheDevice().major;
  properties->minor = TheDevice().minor;
  properties->sharedMemPerBlockOptin = 232448;
  properties->multiProcessorCount = TheDevice().multiprocessors;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMpsEnabled ? TheDevice().mps : TheDevice().context_multiprocessors;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int) {
  std::snprintf(id, static_cast<size_t>(length), "0000:65:00.0");
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  ++TheDevice().settles;
  if (const char* path = std::getenv("EMULATED_GPU_SETTLED_FILE"); path != nullptr) std::ofstream(path) << "settled\n";
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
  return TheDevice().has_code ? cudaSuccess : Fails(cudaErrorNoKernelImageForDevice);
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = static_cast<size_t>(std::max<int64_t>(0, TheDevice().free_bytes - AllocatedBytes()));
  *total_bytes = static_cast<size_t>(TheDevice().total_bytes);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  ++TheDevice().allocations;
  if (static_cast<int64_t>(bytes) > TheDevice().free_bytes - AllocatedBytes()) {
    return Fails(cudaErrorMemoryAllocation);
  }
  *data = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*data == nullptr) return cudaErrorMemoryAllocation;
  std::lock_guard<std::mutex> lock(sizes_mutex);
  sizes[*data] = static_cast<int64_t>(bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  {
    std::lock_guard<std::mutex> lock(sizes_mutex);
    sizes.erase(data);
  }
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  *data = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*data == nullptr) return cudaErrorMemoryAllocation;
  std::lock_guard<std::mutex> lock(sizes_mutex);
  pinned_sizes[static_cast<char*>(*data)] = static_cast<int64_t>(bytes);
  TheDevice().pinned_bytes += static_cast<int64_t>(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  {
    std::lock_guard<std::mutex> lock(sizes_mutex);
    const auto pinned = pinned_sizes.find(static_cast<char*>(data));
    if (pinned != pinned_sizes.end()) {
      TheDevice().pinned_bytes -= pinned->second;
      pinned_sizes.erase(pinned);
    }
  }
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  CountStray(stream);
  // Host memory is only lent to a copy, so a graph must not hold one; on a GPU it could, and would read what is there
  // by then.
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  hadal::kernels::cuda_emulator::Work& work = TheDevice();
  const auto count = static_cast<int64_t>(bytes);
  if (kind == cudaMemcpyHostToDevice) {
    std::atomic_ref<int64_t>(work.uploads).fetch_add(1);  // several threads may upload
    std::atomic_ref<int64_t>(work.upload_bytes).fetch_add(count);
    if (!Pinned(source, count)) std::atomic_ref<int64_t>(TheDevice().pageable_copies).fetch_add(1);
  } else if (kind == cudaMemcpyDeviceToHost) {
    ++work.downloads;
    work.download_bytes += count;
  } else {
    ++work.copies;
  }
  std::memmove(target, source, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  CountStray(stream);
  ++TheDevice().fills;
  std::memset(target, value, bytes);
  return cudaSuccess;
}

// One stream, for what happens in it has happened; its handle is no null pointer, as the runtime's are.
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(const_cast<int*>(&the_stream));
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  CountStray(stream);
  CountSync();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  ++TheDevice().events;
  *event = new EmulatedEvent;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  event->number = ++recorded;
  if (!TheDevice().slow_copies) reached = event->number;
  return cudaSuccess;
}

// As the runtime does, it also leaves "not ready" for cudaGetLastError.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->number <= reached) return cudaSuccess;
  return Fails(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  CountSync();
  if (event->number > reached) ++TheDevice().waits;
  reached = std::max<int64_t>(reached, event->number);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  if (BreaksCapture()) return Fails(cudaErrorStreamCaptureUnsupported);
  captured = new std::vector<std::function<void()>>;
  capture_broken = false;
  captures_here = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!captures_here) return cudaErrorInvalidValue;
  captures_here = false;
  auto* ended = std::exchange(captured, nullptr);
  if (!capture_broken) *graph = new EmulatedGraph{std::move(*ended)};
  delete ended;
  return capture_broken ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ++TheDevice().graphs;
  *exec = new EmulatedGraphExec{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  ++TheDevice().replays;
  for (const std::function<void()>& node : exec->nodes) node();
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  --TheDevice().graphs;
  delete exec;
  return cudaSuccess;
}
