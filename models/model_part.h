// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/layer_range.h"
#include "models/model.h"

namespace hadal::models {

// A step whose work is queued.
class IssuedStep {
 public:
  virtual ~IssuedStep() = default;
  // Waits for it, but not for those behind it. Once, on any thread; errors as of Model::Wait.
  virtual absl::StatusOr<StepOutput> Wait() = 0;
};

// A range of a model's layers in this process. A step passes through the parts of a model in their order, as the same
// StepInput and the state of its tokens: the values that the layers before have made of each, in the compute type. The
// last part samples. Run, Issue and AllocateKvCache are for one thread at a time, Check for another one; all else is
// thread-safe.
class ModelPart {
 public:
  virtual ~ModelPart() = default;

  // Of the whole model; device and weights_bytes are the part's.
  virtual const ModelInfo& info() const = 0;
  virtual const LayerRange& layers() const = 0;
  // Bytes of the part's caches; block sizes and the window are those of the whole model.
  virtual const KvLayout& kv_layout() const = 0;
  virtual DeviceCounters device_counters() const = 0;
  // As of Model.
  virtual int64_t WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const = 0;
  virtual absl::Status AllocateKvCache(const KvCacheSize& size) = 0;

  virtual void BeginWarmUp() {}
  virtual void EndWarmUp() {}

  // The state of one token in host memory; 0 for a part with all layers.
  virtual int64_t state_bytes() const = 0;
  virtual bool takes_state() const = 0;  // it is not the first
  virtual bool gives_state() const = 0;  // it is not the last

  // InvalidArgument for a step that is not consistent; FailedPrecondition before the caches are allocated.
  // `fed_samples`: how many samples of the step before its tokens may name (FedToken).
  virtual absl::Status Check(const StepInput& input, int32_t fed_samples) = 0;

  // Runs a step that Check has passed and whose tokens are all known. `state` [tokens, state_bytes()] comes from the
  // part before, is empty for the first part. The last part gives the samples; any other one fills `next_state`
  // [tokens, state_bytes()] and gives none. InvalidArgument when `state` has another size; other errors as of
  // Model::Wait.
  virtual absl::StatusOr<StepOutput> Run(const StepInput& input, absl::Span<const std::byte> state,
                                         std::vector<std::byte>* next_state) = 0;

  // For a part with all layers: queues the work of a step that Check has passed, and whose `input` outlives the result.
  // Up to kMostIssued are waited for in the order of Issue. Tokens that the step before samples are taken from where it
  // puts them, unless its Issue has failed.
  static constexpr int kMostIssued = 2;
  virtual absl::StatusOr<std::unique_ptr<IssuedStep>> Issue(const StepInput& input) = 0;
};

// The parts of a model after some part, wherever they are: the rest of each step. Steps run in the order in which they
// are sent. Send is for one thread at a time, Receive for one as well, which may be another; all else is for one thread
// while no step is under way.
class ModelRest {
 public:
  virtual ~ModelRest() = default;

  // The largest size up to `wanted` that every part has memory for. ResourceExhausted names the part that has none.
  virtual absl::StatusOr<KvCacheSize> FitKvCache(const KvCacheSize& wanted) = 0;
  virtual absl::Status AllocateKvCache(const KvCacheSize& size) = 0;

  // Hands a step on: `state` is what the part before gave for `input`, and `computed` how long that took. Unavailable
  // when a part cannot be reached any more; the step has no result then.
  virtual absl::Status Send(const StepInput& input, absl::Span<const std::byte> state,
                            std::chrono::nanoseconds computed) = 0;
  // Waits for the samples of the oldest step that was sent. Errors as of Model::Wait; Unavailable as above.
  virtual absl::StatusOr<StepOutput> Receive() = 0;
};

}  // namespace hadal::models
