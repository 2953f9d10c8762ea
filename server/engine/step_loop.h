// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "absl/time/time.h"
#include "models/model.h"
#include "server/admission/admission.h"
#include "server/admission/step_time_model.h"
#include "server/engine/engine_options.h"
#include "server/engine/engine_snapshot.h"
#include "server/engine/scheduler.h"
#include "server/request/wake_signal.h"

namespace hadal::engine {

// The engine's loop, one round at a time, without a thread of its own: Engine calls it from its thread, tests from
// theirs. One step is in flight while the next is planned:
//
//   Launch(n) -> [publish n-1, retire, plan n+1] -> Wait(n) -> commit n, patch plan n+1 -> Launch(n+1) -> ...
//
// Between Wait and Launch, the sampled tokens are only appended and set in the input that is already built. With
// asynchronous scheduling (EngineOptions::async_scheduling) not even that happens: a plan of decode rows only is
// launched before the wait, and the model reads the tokens from where they were sampled.
//
//   Launch(n) -> [publish n-1, retire, plan n+1] -> Launch(n+1) -> Wait(n) -> commit n -> [publish n, ...] -> ...
//
// Where several steps keep the model busy (models::Model::overlapped_steps, P of them) they are of different sequences:
//
//   ... -> Wait(n) -> commit n -> [publish n, retire, plan n+P] -> Launch(n+P) -> Wait(n+1) -> ...
class StepLoop {
 public:
  // All but `model` and `admission` are kept by reference or shared; they outlive the loop.
  StepLoop(const EngineOptions& options, models::Model* model, admission::AdmissionController* admission,
           int model_index, std::shared_ptr<request::WakeSignal> wake, std::shared_ptr<PublishedState> published);
  ~StepLoop();

  struct Round {
    bool progressed = false;                      // call again at once
    absl::Time wake_at = absl::InfiniteFuture();  // else wait for a signal, at most until then
  };
  // One round; blocks only in the model's Wait. `signals` are WakeSignal bits taken before.
  Round RunOnce(uint32_t signals);

  // From now on nothing leaves the queue; what waits is refused with DRAINING.
  void BeginDrain() { draining_ = true; }
  // Ends what still runs (the drain's time is over).
  void EndRunning();
  // Ends everything with DRAINING, a step in flight included.
  void Abort();
  // Nothing runs and nothing is in flight.
  bool idle() const { return !StepsInFlight() && !scheduler_.HasRequests(); }
  bool device_fault() const { return device_fault_; }

 private:
  struct InFlight {
    BatchPlan plan;
    models::StepHandle handle;
    absl::Time launched;
    absl::Duration gap;
    absl::Time launch_returned;
    int64_t context_tokens = 0;  // that its rows look back on
  };

  bool StepsInFlight() const { return in_flight_.has_value() || !overlapping_.empty(); }
  // The second half of a round where steps overlap: launches what can be planned, or waits for the oldest step.
  Round RunOverlapped(absl::Time now);
  void FinishOldest();
  // Nothing when the launch failed: its requests, or all, have been ended then.
  std::optional<InFlight> LaunchStep(BatchPlan plan);
  // Of the step in flight. `next` is what was planned while it ran, or `fed` when that has been launched already.
  void FinishStep(BatchPlan& next, std::optional<InFlight>& fed);
  absl::StatusOr<models::StepOutput> WaitFor(const InFlight& step);
  // Of a step that has been committed: what is published, learned and observed of it. The wait for it began at
  // `before`.
  void RecordStep(const InFlight& step, absl::Time before, absl::Time now);
  // Waits for the steps in flight and drops what they give. The device must be done with the cache before anything is
  // freed.
  void DropSteps();
  void Fault(const absl::Status& status);
  // Sends the results of the phases to the streams, after updating the levels: a client that sees the end of its
  // request no longer finds it in any level.
  void Tell();
  void PublishLevels();
  void PublishState();

  const EngineOptions& options_;
  models::Model* const model_;
  admission::AdmissionController* const admission_;
  const int model_index_;
  const std::shared_ptr<PublishedState> published_;
  Scheduler scheduler_;
  std::optional<InFlight> in_flight_;
  const size_t overlapped_steps_;  // above 1: these are in flight instead, the oldest first
  std::deque<InFlight> overlapping_;
  uint64_t launched_ = 0, committed_ = 0;  // of them
  const bool feeds_;                       // steps may be launched behind the one in flight
  bool draining_ = false;
  bool device_fault_ = false;
  absl::Time gap_started_;  // end of the last Wait, or start of the round when nothing was in flight
  admission::StepTimeModel step_time_;
  double full_step_tokens_;  // of a step that leaves prompts behind, on average lately
};

}  // namespace hadal::engine
