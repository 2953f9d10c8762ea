// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "models/model.h"
#include "server/admission/admission.h"
#include "server/base/clock.h"
#include "server/engine/engine_options.h"
#include "server/engine/engine_snapshot.h"
#include "server/request/wake_signal.h"

namespace hadal::engine {

class StepLoop;

// Serves one model. Its thread exclusively owns the scheduler, the KV blocks and every running sequence. Requests come
// from the admission controller's queue and leave through their streams; each ends in exactly one Close. Thread-safe.
// The admission controller must outlive the engine; the model handle is shared and held until Stop.
class Engine {
 public:
  // Allocates the model's KV cache (num_blocks blocks). `model_index` is AdmissionController::AddModel's answer.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(EngineOptions options, std::shared_ptr<models::Model> model,
                                                        admission::AdmissionController* admission, int model_index);
  ~Engine();  // Stop()

  // Starts the engine thread; once.
  void Start();
  // Refuses what waits (DRAINING), lets the running requests finish for at most `timeout`, then ends the rest with
  // insufficient_system_resource (with DRAINING when no token was produced yet). Returns at once. A later call can only
  // shorten the time-out. Call AdmissionController::BeginDrain before.
  void BeginDrain(absl::Duration timeout);
  // Waits for the end of the drain. True once nothing runs; false if the model did not return from its step within
  // stall_timeout after the drain's time-out. In that case Stop would hang too, and the process should exit.
  bool WaitDrained();
  // Ends everything at once and joins the thread; waits for the step in flight. Idempotent.
  void Stop();

  // The last published state; never waits for the engine.
  EngineSnapshot snapshot() const;
  // Unhealthy when runnable work exists and no step has ended for options.stall_timeout, or after a device fault.
  HealthSnapshot Health() const;

  const models::Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }

 private:
  Engine(EngineOptions options, std::shared_ptr<models::Model> model, admission::AdmissionController* admission,
         int model_index);
  void ThreadMain();
  void SetDrained();
  // Refuses and ends as Drain asks; true while draining.
  bool ApplyDrain();

  const EngineOptions options_;
  const std::shared_ptr<models::Model> model_;
  admission::AdmissionController* const admission_;
  const int model_index_;
  const std::shared_ptr<request::WakeSignal> wake_;
  const std::shared_ptr<PublishedState> published_;
  std::unique_ptr<StepLoop> loop_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> drain_deadline_us_{INT64_MAX};  // Clock time; INT64_MAX: not draining

  base::Mutex mutex_;
  base::CondVar drain_changed_;  // drained_, or an earlier drain_deadline_us_
  bool drained_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace hadal::engine
