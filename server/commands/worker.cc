// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/worker.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/base/process_limits.h"
#include "server/commands/commands.h"
#include "server/commands/demo_model.h"
#include "server/commands/flag_answer.h"
#include "server/commands/leave.h"
#include "server/commands/memory_budget.h"
#include "server/commands/model_source.h"
#include "server/commands/mps.h"
#include "server/commands/stop_events.h"
#include "server/commands/worker_config.h"
#include "server/http/http_server.h"
#include "server/pipeline/key.h"

namespace hadal::commands {
namespace {

// The leader's connection, its listener, checkpoint files, logs.
constexpr int kWorkerDescriptors = 24;

// The log's, the listener's, the session's three, and some that read weights.
constexpr int kWorkerThreads = 10;

// Of probes and scrapes.
constexpr int kMaxHttpConnections = 64;
// With --http-port: its connections, which must not take the worker's, those in reserve, and the listener's own.
constexpr int kHttpDescriptors = kMaxHttpConnections + http::HttpOptions::kReservedConnections + 16;
constexpr int kHttpThreads = 2;

int FailWorker(const absl::Status& status) {
  base::ShutdownLogging();
  std::fprintf(stderr, "hadal worker: %s\n", std::string(status.message()).c_str());
  return IsMpsError(status) ? kMpsExitCode : 1;
}

absl::StatusOr<pipeline::Worker::Options> MakeOptions(const WorkerConfig& config, const MpsState& mps) {
  absl::StatusOr<std::string> key = pipeline::ReadKey(config.key_file);
  if (!key.ok()) return key.status();
  if (config.model.models.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model is given ", config.model.models.size(), " times: a worker holds layers of one model"));
  }
  const std::string dir = config.model.models.empty() ? DemoModelDir() : config.model.models.front().dir;
  if (absl::Status status = CheckModelFolder(dir, /*wants_weights=*/false); !status.ok()) return status;
  pipeline::Worker::Options options = {.host = config.host, .port = config.port, .session = {}, .on_idle = nullptr};
  options.session.load = config.model.load;
  options.session.load.dir = dir;
  options.session.load.warn = [](const std::string& line) { base::Log(base::LogLevel::kWarn, "device", line); };
  options.session.key = *std::move(key);
  options.session.version = kVersion;
  options.session.patience = config.connect_timeout;
  options.session.memory_budget = [wanted = config.model.memory_budget_bytes, device = config.model.load.device,
                                   limit = mps.memory_limit_bytes](const models::ModelInfo& info) {
    return MemoryBudget(wanted, device,
                        {.loaded = info.weights_bytes,
                         .mps_limit = limit,
                         .group_limit = DeviceGroupLimit(info.device_facts.pci_bus_id)});
  };
  options.session.log = [](const std::string& line) { base::Log(base::LogLevel::kInfo, "pipeline", line); };
  return options;
}

http::HealthReport Health(const pipeline::Worker& worker) {
  const pipeline::Worker::Stage stage = worker.stage();
  const bool serving = stage == pipeline::Worker::Stage::kServing;
  http::HealthReport report{.started = true, .progress = serving ? 1.0 : 0.0};
  if (worker.stopping()) {
    report.stage = "draining";
    report.message = "no other leader is served";
  } else if (stage == pipeline::Worker::Stage::kWaiting) {
    report.stage = "waiting";
    report.message = "no leader has come yet";
  } else if (!serving) {
    report.stage = "loading";
    report.message = "the layers are loading";
  } else {
    report.stage = "ready";
    report.ready = true;
  }
  return report;
}

// The port of the worker's health and metrics. Both are borrowed.
absl::StatusOr<std::unique_ptr<http::HttpServer>> StartHttp(const WorkerConfig& config, const pipeline::Worker* worker,
                                                            base::MetricRegistry* metrics) {
  http::HttpOptions options;
  options.front.host = config.host;
  options.port = config.http_port;
  options.version = kVersion;
  options.max_connections = kMaxHttpConnections;
  http::HttpServer::Dependencies dependencies;
  dependencies.metrics = metrics;
  dependencies.health = [worker] { return Health(*worker); };
  auto server = http::HttpServer::Create(std::move(options), std::move(dependencies));
  if (!server.ok()) {
    return absl::Status(server.status().code(), absl::StrCat("--http-port: ", server.status().message()));
  }
  (*server)->Start();
  return server;
}

// Goes on serving until the leader has gone, for at most `timeout`; a second signal ends it at once.
void ServeUntilLeaderGoes(const pipeline::Worker& worker, absl::Duration timeout, StopEvents& events) {
  const absl::Time end = absl::Now() + timeout;
  const int signals = events.signals();
  while (worker.busy() && events.signals() == signals && absl::Now() < end) events.Wait(end - absl::Now());
}

}  // namespace

int Worker(const std::vector<std::string>& args) {
  WorkerConfig config;
  // What hadal serve reads of the environment is not for a worker.
  base::FlagSet flags({.prefix = "HADAL_WORKER_", .others = {}});
  config.AddFlags(&flags);
  const absl::StatusOr<base::ParsedFlags> parsed = flags.Parse("hadal worker", args);
  const std::optional<int> answered = AnswerFlags("worker", parsed.status(), parsed.ok() ? &*parsed : nullptr);
  if (answered.has_value()) return *answered;
  std::signal(SIGPIPE, SIG_IGN);
  const bool has_http = config.http_port >= 0;
  if (absl::Status status = base::CheckDescriptors(kWorkerDescriptors + (has_http ? kHttpDescriptors : 0));
      !status.ok()) {
    return FailWorker(status);
  }
  const absl::StatusOr<std::unique_ptr<StopEvents>> events = StopEvents::Create();
  if (!events.ok()) return FailWorker(events.status());
  // While there is one thread: it may change the environment.
  const absl::StatusOr<MpsState> mps = PrepareMps(config.model, MpsProbe::System());
  if (!mps.ok()) return FailWorker(mps.status());
  if (absl::Status status = base::CheckThreads(kWorkerThreads + (has_http ? kHttpThreads : 0)); !status.ok()) {
    return FailWorker(status);
  }
  base::InitLogging(config.log);
  absl::StatusOr<pipeline::Worker::Options> options = MakeOptions(config, *mps);
  if (!options.ok()) return FailWorker(options.status());
  options->on_idle = [&events] { (*events)->Notify(); };
  base::MetricRegistry metrics;
  options->metrics = &metrics;
  absl::StatusOr<std::unique_ptr<pipeline::Worker>> worker = pipeline::Worker::Create(*std::move(options));
  if (!worker.ok()) return FailWorker(worker.status());
  std::unique_ptr<http::HttpServer> http;
  if (has_http) {
    auto started = StartHttp(config, worker->get(), &metrics);
    if (!started.ok()) return FailWorker(started.status());
    http = *std::move(started);
  }
  std::printf("hadal worker listening on %s:%d%s\n", config.host.c_str(), (*worker)->port(),
              http == nullptr ? "" : absl::StrCat(" (health and metrics on port ", http->port(), ")").c_str());
  std::fflush(stdout);
  while ((*events)->signals() == 0) (*events)->Wait();
  base::Log(base::LogLevel::kInfo, "main", "signal received: no other leader is served");
  (*worker)->StopListening();
  ServeUntilLeaderGoes(**worker, config.drain_timeout, **events);
  // A leader that is still there sees its worker go; a part that is being loaded cannot be stopped.
  if ((*worker)->busy()) LeaveAtOnce(0);
  http.reset();
  worker->reset();
  base::ShutdownLogging();
  return 0;
}

}  // namespace hadal::commands
