// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/ops.h"
#include "kernels/tensor_view.h"
#include "kernels/weight_view.h"

namespace hadal::kernels {

// Device memory in bytes. `total_bytes` is the budget when one is set.
struct DeviceMemory {
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;  // by this backend's buffers
};

// Of a device; zeros for a processor.
struct BackendFacts {
  int64_t multiprocessors = 0;  // that this process may use
  bool mps = false;             // under NVIDIA's Multi-Process Service
  std::string pci_bus_id;       // "0000:65:00.0"; empty: not known
};

// What a backend has counted since it was made.
struct BackendCounters {
  int64_t refused_products = 0;  // that the device's library did not take and a slower kernel computed
};

// The largest step of a model, as far as the scratch memory of its ops depends on it. Heads and the like are 0 where
// the model has no such op.
struct StepBounds {
  int64_t tokens = 0, sequences = 0;
  int64_t context_tokens = 0;                                       // of the longest sequence
  int64_t block_tokens = 1;                                         // of the smallest block of a cache
  int64_t vocab = 0;                                                // Sample
  int64_t paged_heads = 0, paged_kv_heads = 0, paged_head_dim = 0;  // PagedAttention
  int64_t latent_heads = 0;                                         // MlaAttention
  int64_t expanded_kv_tokens = 0, expanded_key_dim = 0;             // MlaPrefill, with the same heads
  int64_t index_entry_tokens = 0;                                   // IndexTopK: tokens that share a key
  int64_t experts = 0;                                              // GroupedGemm
};

// What is known of a step before its first op. Host memory, which stays as it is until all its ops have been issued.
struct StepLists {
  absl::Span<const std::byte> arrays;  // of the caller, for the device
  // Where they go, at the start of the device memory `room`. What lies behind them is the backend's until the next
  // step, for lists that it makes of the rest; ListBytes says how much it can use.
  void* room = nullptr;
  int64_t room_bytes = 0;
  absl::Span<const RaggedBatch> batches;   // that attention ops are given; their device lists lie in the room
  absl::Span<const SampleRowParams> rows;  // that Sample is given, all at once or in parts
  int64_t vocab = 0;                       // of those rows
  // Its ops are given to Replay: every sequence has one new token. What the backend makes of the batches then has one
  // form and one place for all steps of as many sequences, columns of block tables, and array bytes.
  bool replayed = false;
  absl::Span<const RaggedBatch> expanded_batches;  // as `batches`, those that MlaPrefill is given
};

// Brings results of a step to the host while later steps are issued and run. The backend outlives it.
class Readback {
 public:
  virtual ~Readback() = default;
  // Queues the copy of so many bytes; what the last one brought has been used. On the thread that issues ops.
  virtual absl::Status Begin(const void* device_source, int64_t bytes) = 0;
  // Waits for that copy, and so for all that was issued before it, but for nothing else. What it brought stays until
  // the next Begin. On any thread; an error says that the device failed.
  virtual absl::StatusOr<const void*> Wait() = 0;
};

class Backend;

// Owns one allocation of a backend; gives it back when destroyed. Movable. The backend must outlive it, and work that
// uses the memory must be finished (Synchronize) before it dies. Moving and destroying from any thread is safe.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend* backend, void* data, int64_t bytes) : backend_(backend), data_(data), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Reset();
      backend_ = std::exchange(other.backend_, nullptr);
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~Buffer() { Reset(); }

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  void Reset();

 private:
  Backend* backend_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// A place where arithmetic happens: memory, copies and one method per op (kernels/ops/<op>.h holds each contract).
//
// Ops are issued by one thread at a time and run in the order they were issued. On a device they are asynchronous: a
// call returns once the work is queued, with parameter errors (InvalidArgument) at once and nothing queued then; a
// failure of the device surfaces as Internal from a later call, at the latest from Synchronize or Download. On the CPU
// an op is done when the call returns. Views given to an op must stay valid until the work is done; host spans only
// until the call returns. Ops take their scratch memory from the backend.
//
// Any thread may call Allocate, Memory, Counters, Facts or destroy a Buffer; several may Upload and UploadFilled while
// no op is issued.
class Backend {
 public:
  struct Options {
    int32_t threads = 0;              // CPU compute threads, the caller's included; 0: one per core. Others ignore it
    std::string isa = "auto";         // CPU: auto, portable, avx2, avx512, avx512_bf16, amx; others ignore it
    int64_t memory_budget_bytes = 0;  // limit on buffers; 0: what the device has
    int32_t device_index = 0;         // for devices that are numbered
    // A row's result is the same to the last bit whatever other rows an op has, and however a sequence was cut into
    // chunks (kernels/README.md). On the CPU it always is.
    bool batch_invariant = false;
    // Where a device keeps the algorithms that it has timed for the next start; empty: nowhere.
    std::string algorithm_folder;
    int64_t timing_limit_us = 0;  // that a device may take in a warm-up to time algorithms; 0: it takes the first ones
    // Take a line for the log, on the thread that issues ops: what an operator should see, and what is good to know.
    // May be empty.
    std::function<void(absl::string_view)> warn, note;
  };

  virtual ~Backend() = default;

  virtual absl::string_view name() const = 0;   // "cpu", "reference", "cuda", "torch"
  virtual std::string description() const = 0;  // for the log: "cpu, amx, 2 threads"
  // Which of the devices of that name it is: "cpu", "cuda:1".
  virtual std::string device() const { return std::string(name()); }
  // True: host pointers are device pointers, and mapped checkpoint tensors may be used as they lie.
  virtual bool host_accessible() const = 0;
  // Whether the ops have kernels for weights of this scheme; every backend has them for plain ones.
  virtual bool SupportsWeights(WeightScheme scheme) const { return scheme == WeightScheme::kPlain; }

  // 64-byte aligned memory, contents undefined. 0 bytes is legal. ResourceExhausted names the size and the budget.
  virtual absl::StatusOr<Buffer> Allocate(int64_t bytes) = 0;
  virtual absl::StatusOr<DeviceMemory> Memory() = 0;
  virtual BackendCounters Counters() const { return {}; }
  virtual BackendFacts Facts() const { return {}; }

  // Device bytes that the backend needs for itself, besides what its callers allocate, to run such steps. ListBytes are
  // among them.
  virtual int64_t ScratchBytes(const StepBounds&) const { return 0; }
  // Of those, the part that the caller gives it as room for a step's lists.
  virtual int64_t ListBytes(const StepBounds&) const { return 0; }
  // Takes the others from the budget, so that no such step allocates anything. Before the first step.
  virtual absl::Status Reserve(const StepBounds&) { return absl::OkStatus(); }
  // Between them the steps are a warm-up, whose results nobody reads: a device may run an op several times to find the
  // best way. No op is in flight at either.
  virtual void BeginWarmUp() {}
  virtual void EndWarmUp() {}
  // A step begins: brings its arrays to the device, and with them, in the same copy, what a backend makes of the
  // batches and rows. Ops on the same device lists, or on the same host rows, then use that. All of the last step has
  // been issued; it need not be finished. A backend that is never told keeps nothing between ops.
  virtual absl::Status BeginStep(const StepLists& lists) {
    return Upload(lists.room, lists.arrays.data(), static_cast<int64_t>(lists.arrays.size()));
  }

  // Whether Replay may record and replay. Steps are padded to few sizes then, which elsewhere would be work for
  // nothing.
  virtual bool ReplaysSteps() const { return false; }

  // Issues the ops that `issue` issues, after a BeginStep that has said so. A backend may record them, and when the key
  // comes again replay them without calling `issue`: so they depend on nothing but the key and on what lies in device
  // memory, at the same addresses, and bring nothing up or down.
  virtual absl::Status Replay(absl::Span<const int64_t>, absl::FunctionRef<absl::Status()> issue) { return issue(); }

  // In stream order. Upload has read `source` (host) when it returns; Download has filled `target` (host) when it
  // returns.
  virtual absl::Status Upload(void* device_target, const void* source, int64_t bytes) = 0;
  // An upload of at most kMaxFilledBytes that `fill` writes where the device copies from (16-byte aligned, contents
  // undefined), so that what is made for the device is written once: that is the target itself where the host reaches
  // it. `fill` is called once, unless an error comes first; its failure is passed on, and nothing is queued then.
  // Threads as for Upload.
  virtual absl::Status UploadFilled(void* device_target, int64_t bytes,
                                    absl::FunctionRef<absl::Status(void* staged)> fill);
  static constexpr int64_t kMaxFilledBytes = int64_t{8} << 20;
  virtual absl::Status Download(void* target, const void* device_source, int64_t bytes) = 0;
  virtual absl::Status Copy(void* device_target, const void* device_source, int64_t bytes) = 0;
  virtual absl::Status Zero(void* device_target, int64_t bytes) = 0;
  // A Readback for copies of up to `bytes`; larger ones make it grow.
  virtual absl::StatusOr<std::unique_ptr<Readback>> MakeReadback(int64_t bytes);
  // Waits until all issued work is done; reports the first failure since the last call.
  virtual absl::Status Synchronize() = 0;

  // The ops: absl::Status Gemm(const GemmParams& params), and so on for each row of kernels/ops.h. Each checks its
  // parameters, then runs. Unimplemented names a weight's scheme for which this backend has no kernels.
#define HADAL_OP_METHOD(Op) absl::Status Op(const Op##Params& params);
  HADAL_FOR_EACH_OP(HADAL_OP_METHOD)
  HADAL_FOR_EACH_FUSED_OP(HADAL_OP_METHOD)
#undef HADAL_OP_METHOD

 protected:
  // InvalidArgument for a negative number of bytes, and for more than kMaxFilledBytes.
  static absl::Status CheckFilledBytes(int64_t bytes);

  // What a backend implements: DoGemm, and so on. May rely on the checks.
#define HADAL_OP_VIRTUAL(Op) virtual absl::Status Do##Op(const Op##Params& params) = 0;
  HADAL_FOR_EACH_OP(HADAL_OP_VIRTUAL)
#undef HADAL_OP_VIRTUAL
  // The fused ones run their parts, as a caller would.
#define HADAL_OP_VIRTUAL(Op) virtual absl::Status Do##Op(const Op##Params& params);
  HADAL_FOR_EACH_FUSED_OP(HADAL_OP_VIRTUAL)
#undef HADAL_OP_VIRTUAL

 private:
  friend class Buffer;
  // Takes back what Allocate gave. Any thread; must not fail.
  virtual void Free(void* data, int64_t bytes) = 0;
};

inline void Buffer::Reset() {
  if (backend_ != nullptr && data_ != nullptr) backend_->Free(data_, bytes_);
  backend_ = nullptr;
  data_ = nullptr;
  bytes_ = 0;
}

// Names that CreateBackend knows in this build, in order of preference. A name is listed even when the machine lacks
// the device; CreateBackend then says so.
std::vector<std::string> BackendNames();

// InvalidArgument: unknown name or bad option. NotFound: the machine has no device of that kind, or this build no code
// for it. FailedPrecondition: the device cannot be used, or the instruction set is not there. Unavailable: the
// device takes nobody now, but may later.
absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(absl::string_view name, const Backend::Options& options);

// Waits for all that this process has queued on CUDA devices, from any thread. For a process that ends without its
// backends' destructors: a client of MPS that dies with work in flight may take its neighbours along.
void SettleDevices();

}  // namespace hadal::kernels
