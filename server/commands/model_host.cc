// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_host.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/commands/admission_log_sink.h"
#include "server/commands/commands.h"
#include "server/commands/demo_model.h"
#include "server/commands/engine_factory.h"
#include "server/commands/memory_budget.h"
#include "server/commands/memory_planner.h"
#include "server/commands/model_source.h"

namespace hadal::commands {
namespace {

std::vector<ModelFlag> ModelFlags(const ServerConfig& config) {
  if (!config.model.models.empty()) return config.model.models;
  return {{"hadal-demo", DemoModelDir()}};
}

bool DrawsProgress(const ServerConfig& config) {
  return isatty(STDERR_FILENO) != 0 && config.log.format != base::LogFormat::kJson;
}

// The ladder's model must be one of those served.
absl::Status CheckFallbackModel(const std::string& fallback, absl::Span<const ModelFlag> flags) {
  const auto is_it = [&](const ModelFlag& flag) { return flag.name == fallback; };
  if (fallback.empty() || std::any_of(flags.begin(), flags.end(), is_it)) return absl::OkStatus();
  const auto name = [](std::string* out, const ModelFlag& flag) { out->append(flag.name); };
  return absl::InvalidArgumentError(absl::StrCat("--degrade-model is ", fallback, ", which is not served; served are ",
                                                 absl::StrJoin(flags, ", ", name)));
}

// Workers hold layers of one model, and layers are what they compute.
absl::Status CheckPipeline(const ServerConfig& config, absl::Span<const ModelFlag> flags) {
  if (absl::Status status = config.pipeline.Validate(); !status.ok() || !config.pipeline.enabled()) return status;
  if (flags.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pipeline-workers serve one model, but --model is given ", flags.size(), " times"));
  }
  if (!config.model.null_step_time.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError("--pipeline-workers have nothing to compute with --load-format=null");
}

}  // namespace

ModelHost::ModelHost(const ServerConfig* config, MpsState mps, base::MetricRegistry* metrics,
                     ServerMetrics* server_metrics, std::function<void()> on_failure)
    : config_(*config),
      mps_(std::move(mps)),
      on_failure_(std::move(on_failure)),
      flags_(ModelFlags(config_)),
      metrics_(metrics),
      server_metrics_(*server_metrics),
      pipeline_metrics_(config_.pipeline.enabled()
                            ? std::make_unique<pipeline::PipelineMetrics>(metrics_, config_.pipeline.workers)
                            : nullptr),
      progress_(metrics_, DrawsProgress(config_)) {}

ModelHost::~ModelHost() { StopEngines(); }

absl::Status ModelHost::CheckFlags() const {
  for (const ModelFlag& flag : flags_) {
    if (absl::Status status = CheckModelFolder(flag.dir, config_.model.wants_weights()); !status.ok()) return status;
  }
  if (absl::Status status = CheckPipeline(config_, flags_); !status.ok()) return status;
  if (const std::string& file = config_.model.memory_budget_file; !file.empty()) {
    if (absl::Status status = RuntimeBudget::CheckFile(file); !status.ok()) return status;
  }
  return CheckFallbackModel(config_.degradation.fallback_model, flags_);
}

absl::Status ModelHost::Load(admission::AdmissionController* admission, kv_events::EventPublisher* kv_events,
                             base::Notification& cancelled) {
  std::vector<LoadedModel> loaded;
  for (size_t i = 0; i < flags_.size(); ++i) {
    absl::StatusOr<LoadedModel> one = LoadOne(flags_[i], static_cast<int>(i), admission, cancelled);
    if (!one.ok()) {
      progress_.End();
      return one.status();
    }
    loaded.push_back(*std::move(one));
    if (cancelled.WaitFor(absl::ZeroDuration())) return absl::CancelledError("stopped while loading");
  }
  progress_.End();
  TellRemaining(admission);
  if (absl::Status status = CreateLedger(loaded); !status.ok()) return status;
  if (absl::Status status = CreateEngines(loaded, admission, kv_events); !status.ok()) return status;
  WatchDevice(loaded);
  WatchBudget(loaded.front().model->info());
  if (kv_events != nullptr) kv_events->Start();
  for (auto& engine : engines_) engine->Start();
  AddAliases();
  ready_.store(true, std::memory_order_release);
  return absl::OkStatus();
}

void ModelHost::TellRemaining(admission::AdmissionController* admission) const {
  admission->SetLoading(std::max(absl::Seconds(1), progress_.Remaining()));
}

absl::StatusOr<LoadedModel> ModelHost::LoadOne(const ModelFlag& flag, int index,
                                               admission::AdmissionController* admission,
                                               base::Notification& cancelled) {
  progress_.Begin(flag.name, index, static_cast<int>(flags_.size()));
  absl::StatusOr<LoadedModel> loaded = absl::UnknownError("not tried");
  const auto load = [&] {
    loaded = LoadServedModel(
        config_, flag, index,
        [&](checkpoint::LoadProgress progress) {
          progress_.Update(progress.bytes_done, progress.bytes_total);
          TellRemaining(admission);
        },
        PipelineContext(), &cancelled);
    return loaded.status();
  };
  const auto wait = [&](absl::Duration delay, const absl::Status& reason) {
    base::Log(base::LogLevel::kWarn, "main",
              absl::StrCat(reason.message(), "; the next attempt is in ", absl::FormatDuration(delay)));
    device_metrics_.SetMpsFault(true);
    return !cancelled.WaitFor(delay);
  };
  if (absl::Status status = OpenWhenMpsIsReady(load, wait); !status.ok()) return status;
  device_metrics_.SetMpsFault(false);
  const models::ModelInfo& info = loaded->model->info();
  if (absl::Status status = CheckMps(config_.model.mps, mps_, info.device_facts); !status.ok()) return status;
  server_metrics_.model_info.With({flag.name, info.family, info.dtype, info.device}).Set(1);
  return loaded;
}

pipeline::LeaderContext ModelHost::PipelineContext() {
  return {.metrics = pipeline_metrics_.get(),
          .health = &pipeline_health_,
          .on_failure = on_failure_,
          .notice = [](const std::string& line) { base::Log(base::LogLevel::kInfo, "pipeline", line); },
          .version = kVersion};
}

absl::Status ModelHost::CreateLedger(absl::Span<const LoadedModel> loaded) {
  DeviceRoom room;
  for (const LoadedModel& one : loaded) room.loaded += one.model->info().weights_bytes;
  room.mps_limit = mps_.memory_limit_bytes;
  room.group_limit = DeviceGroupLimit(loaded.front().model->info().device_facts.pci_bus_id);
  const absl::StatusOr<int64_t> budget =
      MemoryBudget(config_.model.memory_budget_bytes, config_.model.memory_device(), room);
  if (!budget.ok()) return budget.status();
  auto ledger = admission::MemoryLedger::Create(*budget, metrics_);
  if (!ledger.ok()) return ledger.status();
  memory_ = *std::move(ledger);
  return absl::OkStatus();
}

absl::Status ModelHost::CreateEngines(absl::Span<const LoadedModel> loaded, admission::AdmissionController* admission,
                                      kv_events::EventPublisher* kv_events) {
  std::vector<ModelMemory> models;
  for (const LoadedModel& one : loaded) {
    const models::ModelInfo& info = one.model->info();
    models.push_back({info.name, info.weights_bytes,
                      one.model->WorkspaceBytes(config_.engine.max_batch_tokens, config_.engine.max_batch_size),
                      info.max_model_len, one.model->kv_layout(),
                      [model = one.model](const models::KvCacheSize& wanted) { return model->FitKvCache(wanted); }});
  }
  const ServingLimits limits = {config_.engine.block_tokens, config_.engine.max_batch_size,
                                config_.engine.max_batch_tokens, config_.admission.max_queue_requests};
  absl::StatusOr<std::vector<CachePlan>> caches = PlanCaches(models, limits, memory_.get());
  if (!caches.ok()) return caches.status();

  engine::EngineOptions options = config_.engine;
  options.log = MakeLogSink();
  options.observer = &engine_metrics_;
  options.on_fault = [this, under_mps = loaded.front().model->info().device_facts.mps] {
    device_metrics_.SetMpsFault(under_mps);
    on_failure_();
  };
  for (size_t i = 0; i < loaded.size(); ++i) {
    if (kv_events != nullptr) {
      const models::ModelInfo& info = loaded[i].model->info();
      options.block_events = kv_events->AddModel(flags_[i].name, info.fingerprint, (*caches)[i].size.blocks);
    }
    const auto on_warm_up = [&](double share) {
      progress_.UpdateWarmUp((static_cast<double>(i) + share) / static_cast<double>(loaded.size()));
      TellRemaining(admission);
    };
    auto engine = CreateEngine(options, loaded[i].model, (*caches)[i], admission, on_warm_up);
    if (!engine.ok()) return engine.status();
    engines_.push_back(*std::move(engine));
    if (absl::Status status = table_.Add(loaded[i].served); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void ModelHost::WatchDevice(absl::Span<const LoadedModel> loaded) {
  const models::DeviceFacts& device = loaded.front().model->info().device_facts;
  device_metrics_.SetMps(mps_, device);
  gpu_metrics_ = GpuMetrics::Create(device.pci_bus_id, metrics_);
  std::vector<std::shared_ptr<const models::Model>> models;
  for (const LoadedModel& one : loaded) models.push_back(one.model);
  device_metrics_.Watch(std::move(models));
}

void ModelHost::WatchBudget(const models::ModelInfo& model) {
  RuntimeBudget::Sources sources{.file = config_.model.memory_budget_file};
  if (model.device == "cpu" || model.device == "none") {
    sources.group_limit = [] { return HostGroupLimit(); };
  } else {
    sources.group_limit = [bus = model.device_facts.pci_bus_id] { return DeviceGroupLimit(bus); };
  }
  runtime_budget_ = std::make_unique<RuntimeBudget>(std::move(sources), memory_.get());
  runtime_budget_->Update();
}

void ModelHost::UpdateBudget() {
  if (ready()) runtime_budget_->Update();
}

void ModelHost::AddAliases() {
  for (const ModelFlag& flag : flags_) {
    for (const std::string& other : flag.other_names) table_.AddAlias(other, flag.name);
  }
  // What clients of DeepSeek's own API ask for.
  table_.AddAlias("deepseek-chat", "", false);
  table_.AddAlias("deepseek-reasoner", "", true);
  table_.MarkComplete();
}

std::vector<const engine::Engine*> ModelHost::engines() const {
  std::vector<const engine::Engine*> engines;
  if (!ready()) return engines;
  for (const auto& engine : engines_) engines.push_back(engine.get());
  return engines;
}

std::string ModelHost::NoProgress() const {
  for (const engine::Engine* engine : engines()) {
    const engine::HealthSnapshot health = engine->Health();
    if (!health.live) return health.message;
  }
  return "";
}

std::string ModelHost::Failure() const {
  if (std::string lost = pipeline_health_.failure(); !lost.empty()) return lost;
  for (const engine::Engine* engine : engines()) {
    if (engine->snapshot().device_fault) return absl::StrCat(engine->options().name, ": the device failed");
  }
  return "";
}

void ModelHost::BeginDrain(absl::Duration timeout) {
  for (auto& engine : engines_) engine->BeginDrain(timeout);
}

bool ModelHost::WaitDrained() {
  bool drained = true;
  for (auto& engine : engines_) drained = engine->WaitDrained() && drained;
  return drained;
}

void ModelHost::StopEngines() {
  for (auto& engine : engines_) engine->Stop();
}

}  // namespace hadal::commands
