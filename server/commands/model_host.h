// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/admission/admission.h"
#include "server/admission/memory_ledger.h"
#include "server/base/metrics.h"
#include "server/base/notification.h"
#include "server/commands/device_metrics.h"
#include "server/commands/gpu_metrics.h"
#include "server/commands/load_progress.h"
#include "server/commands/model_loading.h"
#include "server/commands/mps.h"
#include "server/commands/runtime_budget.h"
#include "server/commands/server_config.h"
#include "server/commands/server_metrics.h"
#include "server/engine/engine.h"
#include "server/engine/engine_metrics.h"
#include "server/kv_events/event_publisher.h"
#include "server/pipeline/leader.h"
#include "server/pipeline/pipeline_metrics.h"
#include "server/service/served_model.h"

namespace hadal::commands {

// The models of a server: loads them one after another, divides the device's memory among them, and runs an engine for
// each. The results of Load are available once ready(). Load, StopEngines and the destructor are for one thread at a
// time; everything else is thread-safe.
class ModelHost {
 public:
  // `config` and the metrics are borrowed. `mps` is what PrepareMps said. `on_failure` is called, on an engine's
  // thread, when Failure() begins to name one; it may only wake somebody.
  ModelHost(const ServerConfig* config, MpsState mps, base::MetricRegistry* metrics, ServerMetrics* server_metrics,
            std::function<void()> on_failure);
  ~ModelHost();

  // Checks the flags as far as possible before anything is loaded. Errors name the flag.
  absl::Status CheckFlags() const;
  // Loads every model and starts its engine, which borrows `admission` and, where it is not null, `kv_events`. Gives up
  // between models once `cancelled`.
  absl::Status Load(admission::AdmissionController* admission, kv_events::EventPublisher* kv_events,
                    base::Notification& cancelled);

  // The served name of the first model, used for requests that name none.
  const std::string& first_name() const { return flags_.front().name; }
  // Filled while loading.
  const service::ModelTable& table() const { return table_; }
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  // 0 to 1, of all models together.
  double progress() const { return ready() ? 1 : progress_.progress(); }
  // Follows what changes the memory budget at run time; to be called about once a second, by one thread.
  void UpdateBudget();
  // Empty and null until ready().
  std::vector<const engine::Engine*> engines() const;
  const admission::MemoryLedger* memory() const { return ready() ? memory_.get() : nullptr; }
  // The health message of the first engine without progress; empty if all make progress.
  std::string NoProgress() const;
  // A device fault or a lost worker; empty while there is none.
  std::string Failure() const;

  // Running requests have `timeout` from now; a later call may shorten that.
  void BeginDrain(absl::Duration timeout);
  // Waits until nothing runs. False if a model never returned from a step: the process must then exit without running
  // destructors.
  bool WaitDrained();
  void StopEngines();

 private:
  absl::StatusOr<LoadedModel> LoadOne(const ModelFlag& flag, int index, admission::AdmissionController* admission,
                                      base::Notification& cancelled);
  // What refused callers are told until the models are ready.
  void TellRemaining(admission::AdmissionController* admission) const;
  absl::Status CreateLedger(absl::Span<const LoadedModel> loaded);
  absl::Status CreateEngines(absl::Span<const LoadedModel> loaded, admission::AdmissionController* admission,
                             kv_events::EventPublisher* kv_events);
  void WatchDevice(absl::Span<const LoadedModel> loaded);
  void WatchBudget(const models::ModelInfo& model);
  // Where a model on several hosts reports to.
  pipeline::LeaderContext PipelineContext();
  void AddAliases();

  const ServerConfig& config_;
  const MpsState mps_;
  const std::function<void()> on_failure_;
  const std::vector<ModelFlag> flags_;
  base::MetricRegistry* const metrics_;
  ServerMetrics& server_metrics_;
  // Models report to them until they are destroyed, so both come before whatever holds a model.
  std::unique_ptr<pipeline::PipelineMetrics> pipeline_metrics_;  // null: all layers are here
  pipeline::PipelineHealth pipeline_health_;
  DeviceMetrics device_metrics_{metrics_};
  std::unique_ptr<GpuMetrics> gpu_metrics_;  // null: there is nothing to tell
  engine::EngineMetrics engine_metrics_{metrics_};
  LoadProgress progress_;
  std::unique_ptr<admission::MemoryLedger> memory_;
  std::unique_ptr<RuntimeBudget> runtime_budget_;
  service::ModelTable table_;
  std::vector<std::unique_ptr<engine::Engine>> engines_;
  std::atomic<bool> ready_{false};
};

}  // namespace hadal::commands
