// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "server/request/refusal.h"
#include "server/request/request.h"
#include "server/request/token_stream.h"

namespace hadal::engine {

struct EngineOptions;
struct PublishedState;

// Where a request was when something happened to it.
enum class Stage : uint8_t { kQueue, kPrefill, kDecode };

struct StepFacts {
  absl::Duration duration;    // Launch to the end of Wait
  absl::Duration gap;         // engine work before the launch during which the device was idle
  absl::Duration overlapped;  // engine work while the step computed: publishing the previous one, planning the next
  int32_t tokens = 0;         // rows
  int32_t sequences = 0;
  int32_t prefill_tokens = 0;
};

// The token masks that a step's constrained rows got.
struct MaskFacts {
  absl::Duration duration;  // of all of them; part of the gap
  int32_t rows = 0;
};

struct RequestFacts {
  request::Priority priority = request::Priority::kNormal;
  request::Reason reason = request::Reason::kNone;  // kNone: ended well
  Stage stage = Stage::kQueue;                      // where it ended
  request::StreamUsage usage;
  absl::Duration queue_time;    // arrival to start
  absl::Duration prefill_time;  // start to first token; zero when there was none
  absl::Duration decode_time;   // first token to the end
  absl::Duration total_time;    // arrival to the end
  // It ended well and whole, its first token came when the caller wanted it, and it waited no longer than its class may
  // (AdmissionOptions::wait_limits).
  bool good = false;
};

// Receives an engine's events as they happen, on the engine's thread (except OnCreated), so that metrics are counted at
// the source. Implementations must not block or call back. Every method does nothing by default.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  // An engine was made, by the thread that makes it. `state` is what it publishes; it may be kept and read.
  virtual void OnCreated(const EngineOptions&, std::shared_ptr<const PublishedState> state) {}
  virtual void OnStep(const StepFacts&) {}
  virtual void OnMasks(const MaskFacts&) {}
  virtual void OnStarted(request::Priority, absl::Duration queue_time) {}
  virtual void OnFirstToken(request::Priority, absl::Duration since_arrival) {}
  virtual void OnTokens(int32_t tokens) {}      // generated in one step
  virtual void OnInterToken(absl::Duration) {}  // once a step: time between tokens of a running sequence
  virtual void OnPrefixLookup(int32_t query_tokens, int32_t hit_tokens) {}
  virtual void OnPreempted(int32_t lost_tokens) {}
  // Sequences of class batch that left their places to more urgent requests; they keep their blocks.
  virtual void OnSetAside(int32_t sequences) {}
  // Decode rows of class batch that a step with rows of others leaves to a later one.
  virtual void OnRested(int32_t rows) {}
  virtual void OnRecomputed(int32_t tokens) {}
  // A step was launched with this many rows of sequences that turned out to have ended in the previous step.
  virtual void OnDiscarded(int32_t rows) {}
  // A choice of a request that had started has ended.
  virtual void OnChoiceEnded(request::FinishReason) {}
  virtual void OnEnded(const RequestFacts&) {}
};

}  // namespace hadal::engine
