// SPDX-License-Identifier: Apache-2.0
#include "server/commands/app.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/commands/admission_log_sink.h"
#include "server/commands/commands.h"
#include "server/commands/descriptor_limit.h"
#include "server/commands/http_get.h"
#include "server/commands/leave.h"
#include "server/commands/metrics_aliases.h"
#include "server/http/batch_executor.h"
#include "server/trace/otlp_exporter.h"
#include "server/trace/span_client.h"

namespace hadal::commands {
namespace {

// The connections that the process's descriptors allow; a warning when those are fewer than the flag says.
absl::StatusOr<int> AffordableConnections(int max_connections, int grpc_connections, bool tls,
                                          int64_t upstream_connections) {
  const absl::StatusOr<DescriptorPlan> plan =
      PlanDescriptors(max_connections, grpc_connections, tls, upstream_connections);
  if (!plan.ok()) return plan.status();
  if (plan->limit < plan->needed) {
    base::Log(base::LogLevel::kWarn, "main",
              absl::StrCat("ulimit -n is ", plan->limit, ", but --max-connections=", max_connections,
                           " and --grpc-max-connections=", grpc_connections, " need ", plan->needed,
                           " descriptors: at most ", plan->max_connections, " HTTP clients stay connected"));
  }
  return static_cast<int>(plan->max_connections);
}

// The text of a PEM file with authorities, once it is known that TLS can read it.
absl::StatusOr<std::string> ReadAuthorities(const std::string& file) {
  constexpr int64_t kMaxBytes = 1 << 20;
  if (absl::Status status = TlsTrust::Authorities(file).status(); !status.ok()) return status;
  return base::ReadFile(file, kMaxBytes);
}

// At least two: one of them never takes a long text.
int ServiceThreads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency() / 2, 2u, 8u)); }

}  // namespace

App::App(ServerConfig config, MpsState mps, std::function<void()> on_failure)
    : config_(std::move(config)),
      models_(&config_, std::move(mps), &metrics_, &server_metrics_, std::move(on_failure)) {}

App::~App() {
  // Its listener gives connections to http_.
  if (grpc_ != nullptr) grpc_->Shutdown(absl::ZeroDuration());
  if (http_ != nullptr) http_->Stop();
  if (batches_ != nullptr) batches_->Stop();
  models_.StopEngines();
  if (kv_events_ != nullptr) kv_events_->Stop();
}

absl::Status App::Start() {
  server_metrics_.build_info.With({kVersion, __VERSION__}).Set(1);
  if (config_.metrics_aliases == MetricsAliases::kVllm) AddVllmAliases(models_.first_name(), &metrics_);
  if (absl::Status status = config_.front.Validate(); !status.ok()) return status;
  if (absl::Status status = models_.CheckFlags(); !status.ok()) return status;
  if (absl::Status status = LoadKeys(); !status.ok()) return status;
  if (absl::Status status = OpenAccessLog(); !status.ok()) return status;
  if (absl::Status status = StartTls(); !status.ok()) return status;
  if (absl::Status status = CreateAdmission(); !status.ok()) return status;
  if (absl::Status status = CreateKvEvents(); !status.ok()) return status;
  if (absl::Status status = CreateTracer(); !status.ok()) return status;
  if (absl::Status status = CreateUpstreams(); !status.ok()) return status;
  if (absl::Status status = CreateService(); !status.ok()) return status;
  if (absl::Status status = OpenBatches(); !status.ok()) return status;
  if (absl::Status status = StartGrpc(); !status.ok()) return status;
  return StartHttp();
}

absl::Status App::LoadKeys() {
  if (!config_.api_key_file.empty()) {
    absl::StatusOr<service::ApiKeys> keys = service::ApiKeys::Load(config_.api_key_file);
    if (!keys.ok()) return keys.status();
    keys_ = *std::move(keys);
  }
  const bool anybody = keys_.empty() && !config_.tls.asks_for_certificates();
  if (anybody && !config_.insecure_public && !config_.front.OnLoopback()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--host=", config_.front.host,
        " can be reached from outside: give --api-key-file or --tls-client-ca, or --insecure-public to allow "
        "everybody"));
  }
  return absl::OkStatus();
}

absl::Status App::StartTls() {
  if (absl::Status status = config_.tls.Validate(); !status.ok()) return status;
  if (!config_.tls.enabled()) return absl::OkStatus();
  // Those that are ending come on top.
  const int64_t connections = config_.http.max_connections + config_.grpc.max_connections;
  tls::Terminator::Options options = {.tls = config_.tls,
                                      .max_connections = connections + 2 * http::HttpOptions::kReservedConnections};
  auto terminator = tls::Terminator::Create(std::move(options), &tls_metrics_);
  if (!terminator.ok()) return terminator.status();
  tls_ = *std::move(terminator);
  return absl::OkStatus();
}

void App::ReloadTls(std::string_view cause) {
  if (tls_ == nullptr) return;
  if (absl::Status status = tls_->Reload(); !status.ok()) {
    base::Log(base::LogLevel::kError, "main",
              absl::StrCat(base::View(cause), ": ", status.message(), "; TLS stays as it was"));
    return;
  }
  const std::string expiry = absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", tls_->expiry(), absl::UTCTimeZone());
  base::Log(base::LogLevel::kInfo, "main", absl::StrCat(base::View(cause), ": certificate and key were read again"),
            {{"expires", expiry}});
}

void App::ReloadKeys(std::string_view cause) {
  if (config_.api_key_file.empty()) {
    if (config_.tls.enabled() || upstreams_ != nullptr) return;
    base::Log(base::LogLevel::kInfo, "main",
              absl::StrCat(base::View(cause), " ignored: there is no --api-key-file or --tls-cert to read again"));
    return;
  }
  absl::StatusOr<service::ApiKeys> keys = service::ApiKeys::Load(config_.api_key_file);
  if (!keys.ok()) {
    base::Log(base::LogLevel::kError, "main",
              absl::StrCat(base::View(cause), ": ", keys.status().message(), "; the keys stay as they were"));
    return;
  }
  keys_.Replace(*keys);
  base::Log(base::LogLevel::kInfo, "main", absl::StrCat(base::View(cause), ": --api-key-file was read again"),
            {{"keys", static_cast<int64_t>(keys_.size())}});
}

absl::Status App::OpenAccessLog() {
  if (config_.log.access_log.empty()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<base::LineWriter>> writer = base::LineWriter::Open(config_.log.access_log);
  if (!writer.ok())
    return absl::Status(writer.status().code(), absl::StrCat("--access-log: ", writer.status().message()));
  access_log_ = std::make_unique<service::AccessLog>(*std::move(writer));
  return absl::OkStatus();
}

void App::ReopenAccessLog() {
  if (access_log_ == nullptr) return;
  if (absl::Status status = access_log_->Reopen(); !status.ok()) {
    base::Log(base::LogLevel::kError, "main",
              absl::StrCat("SIGHUP: --access-log: ", status.message(), "; lines go on to the old file"));
    return;
  }
  base::Log(base::LogLevel::kInfo, "main", "SIGHUP: --access-log was opened again");
}

absl::Status App::CreateAdmission() {
  admission::AdmissionOptions options = config_.admission;
  options.max_queue_requests = std::max<int64_t>(1, options.max_queue_requests);
  options.log = MakeLogSink();
  options.metrics = &metrics_;
  options.seed = std::random_device{}();  // replicas that started alike must not tell their clients the same times
  auto admission = admission::AdmissionController::Create(std::move(options));
  if (!admission.ok()) return admission.status();
  admission_ = *std::move(admission);
  forecasts_ = std::make_unique<admission::ForecastThread>(admission_.get(), base::Clock::Real());
  admission_->SetLoading(absl::Seconds(2));
  server_metrics_.Watch([this] { return MakeLoad(Sources()); },
                        [this] { return access_log_ == nullptr ? 0 : access_log_->dropped(); });
  return absl::OkStatus();
}

absl::Status App::CreateKvEvents() {
  if (absl::Status status = config_.kv_events.Validate(); !status.ok() || !config_.kv_events.enabled()) return status;
  if (!config_.engine.prefix_cache) {
    return absl::InvalidArgumentError("--kv-events needs --prefix-cache: without it no cache is there to tell of");
  }
  auto publisher = kv_events::EventPublisher::Create(config_.kv_events, &kv_event_metrics_);
  if (!publisher.ok()) return publisher.status();
  kv_events_ = *std::move(publisher);
  base::Log(base::LogLevel::kInfo, "main", "KV events are published",
            {{"endpoint", std::string_view(kv_events_->endpoint())},
             {"replay", std::string_view(kv_events_->replay_endpoint())}});
  return absl::OkStatus();
}

absl::Status App::CreateTracer() {
  if (absl::Status status = config_.trace.Validate(); !status.ok()) return status;
  if (config_.trace.endpoint.empty()) return absl::OkStatus();
  trace::Collector collector = {.endpoint = config_.trace.endpoint, .tls = config_.trace.tls};
  if (!config_.trace.ca_file.empty()) {
    absl::StatusOr<std::string> authorities = ReadAuthorities(config_.trace.ca_file);
    if (!authorities.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--otlp-traces-ca: ", authorities.status().message()));
    }
    collector.authorities = *std::move(authorities);
  }
  char host[256] = "";
  (void)::gethostname(host, sizeof(host) - 1);
  trace::ServiceIdentity identity = {"hadal", kVersion, absl::StrCat(host, ":", ::getpid())};
  spans_ = std::make_unique<trace::OtlpExporter>(trace::MakeOtlpClient(collector, std::move(identity)), &trace_metrics_,
                                                 trace::OtlpExporter::Options());
  tracer_ = std::make_unique<service::Tracer>(spans_.get(), config_.trace.sample_ratio);
  return absl::OkStatus();
}

absl::Status App::CreateUpstreams() {
  if (!config_.upstream.enabled()) return absl::OkStatus();
  auto upstreams = upstream::Upstreams::Create(config_.upstream,
                                               {.metrics = &metrics_, .user_agent = absl::StrCat("hadal/", kVersion)});
  if (!upstreams.ok()) return upstreams.status();
  upstreams_ = *std::move(upstreams);
  return absl::OkStatus();
}

void App::ReloadUpstreamKeys(std::string_view cause) {
  if (upstreams_ == nullptr) return;
  if (absl::Status status = upstreams_->ReloadKeys(); !status.ok()) {
    base::Log(base::LogLevel::kError, "main",
              absl::StrCat(base::View(cause), ": ", status.message(), "; the upstreams' keys stay as they were"));
    return;
  }
  base::Log(base::LogLevel::kInfo, "main", absl::StrCat(base::View(cause), ": the upstreams' keys were read again"));
}

absl::Status App::CreateService() {
  if (config_.response_cache.enabled() || config_.degradation.cache_bytes > 0) {
    auto cache = response_cache::ResponseCache::Create({.cache = config_.response_cache,
                                                        .ladder_bytes = config_.degradation.cache_bytes,
                                                        .metrics = &response_cache_metrics_});
    if (!cache.ok()) return cache.status();
    response_cache_ = *std::move(cache);
  }
  service::GenerateService::Options service;
  service.admission = admission_.get();
  service.models = &models_.table();
  service.clock = base::Clock::Real();
  service.parse_special_tokens = config_.front.parse_special_tokens;
  service.worker_threads = ServiceThreads();
  if (kv_events_ != nullptr) {
    service.on_cache_salt = [this](uint64_t salt, const std::string& name) { kv_events_->NameSalt(salt, name); };
  }
  service.load = [this] { return MakeLoad(Sources()); };
  service.tracer = tracer_.get();
  service.access_log = access_log_.get();
  service.metrics = &metrics_;
  service.grammars = config_.grammar;
  service.degradation = config_.degradation;
  service.response_cache = response_cache_.get();
  service.bodies = {.max_bytes = config_.front.BodyBytesInFlight(), .max_uploads = config_.http.max_connections};
  service_ = std::make_unique<service::GenerateService>(std::move(service));
  return absl::OkStatus();
}

absl::Status App::OpenBatches() {
  if (!config_.batches.enabled()) return absl::OkStatus();
  auto opened = batches::BatchService::Open(config_.batches, &batch_metrics_);
  if (!opened.ok()) return opened.status();
  batches_ = *std::move(opened);
  return absl::OkStatus();
}

absl::Status App::StartGrpc() {
  rpc::GrpcOptions grpc = config_.grpc;
  grpc.tcp_fast_open = config_.http.tcp_fast_open;
  grpc.metrics = &metrics_;
  grpc.screen = [this](int fd) {
    http::HttpServer* const http = screen_.load(std::memory_order_acquire);
    if (http != nullptr) http->Screen(fd);
    return http != nullptr;
  };
  auto grpc_server = rpc::GrpcServer::Start(std::move(grpc), service_.get(), &keys_, batches_.get(), upstreams_.get());
  if (!grpc_server.ok()) return grpc_server.status();
  grpc_ = *std::move(grpc_server);
  return absl::OkStatus();
}

absl::Status App::StartHttp() {
  http::HttpOptions http = config_.http;
  http.version = kVersion;
  absl::StatusOr<int> connections =
      AffordableConnections(http.max_connections, config_.grpc.max_connections, tls_ != nullptr,
                            upstreams_ == nullptr ? 0 : config_.upstream.max_connections());
  if (!connections.ok()) return connections.status();
  http.max_connections = *connections;
  http::HttpServer::Dependencies dependencies;
  dependencies.service = service_.get();
  dependencies.keys = keys_;
  dependencies.batches = batches_.get();
  dependencies.metrics = &metrics_;
  dependencies.health = [this] { return Health(); };
  dependencies.adopt_http2 = [this](int fd, base::Peer peer) { grpc_->Adopt(fd, std::move(peer)); };
  dependencies.upstreams = upstreams_.get();
  dependencies.tls = tls_.get();
  dependencies.grpc_elsewhere = config_.grpc.port >= 0;
  auto http_server = http::HttpServer::Create(std::move(http), std::move(dependencies));
  if (!http_server.ok()) return http_server.status();
  http_ = *std::move(http_server);
  http_->Start();
  screen_.store(http_.get(), std::memory_order_release);
  return absl::OkStatus();
}

absl::Status App::Load(base::Notification& cancelled) {
  if (absl::Status status = models_.Load(admission_.get(), kv_events_.get(), cancelled); !status.ok()) return status;
  admission_->SetReady();
  grpc_->SetServing(true);
  if (batches_ != nullptr) batches_->Start(http::MakeBatchExecutor(service_.get(), keys_, config_.http));
  base::Log(base::LogLevel::kInfo, "main", "ready");
  return absl::OkStatus();
}

LoadSources App::Sources() const {
  LoadSources sources;
  sources.admission = admission_.get();
  sources.engines = models_.engines();
  sources.memory = models_.memory();
  sources.draining = draining_.load(std::memory_order_acquire);
  sources.ready = models_.ready() && !sources.draining && Failure().empty();
  return sources;
}

http::HealthReport App::Health() const {
  http::HealthReport report;
  report.started = models_.ready();
  const bool draining = draining_.load(std::memory_order_acquire);
  report.stage = !report.started ? "loading" : draining ? "draining" : "ready";
  report.progress = models_.progress();
  if (!report.started) {
    report.message = "the model is loading";
    return report;
  }
  report.message = models_.NoProgress();
  report.live = report.message.empty();
  const std::string failure = Failure();
  if (!failure.empty()) {
    report.stage = "device_fault";
    report.message = failure;
  }
  report.ready = !draining && failure.empty();
  return report;
}

std::string App::Failure() const { return models_.Failure(); }

void App::Drain(absl::Duration timeout) {
  draining_.store(true, std::memory_order_release);
  grpc_->SetServing(false);
  admission_->BeginDrain();
  http_->BeginDrain();
  if (batches_ != nullptr) batches_->BeginDrain();
  models_.BeginDrain(timeout);
  if (upstreams_ != nullptr) upstreams_->BeginDrain(timeout);
  if (!models_.WaitDrained()) {
    // The model never came back from a step: its thread cannot be joined, so the process ends without destructors.
    base::Log(base::LogLevel::kError, "main", "a model step did not end: leaving without it");
    if (access_log_ != nullptr) access_log_->Close();
    LeaveAtOnce(4);
  }
  // Answers of other servers may take as long as those of the engines; ShortenDrain may move their end.
  if (upstreams_ != nullptr) {
    http_->WaitIdle([this] { return upstreams_->drain_end(); });
    grpc_->WaitPassedOn([this] { return upstreams_->drain_end(); });
  }
  // What the engines have published still has to reach the clients.
  http_->WaitIdle(absl::Seconds(2));
  grpc_->Shutdown(absl::Seconds(2));
  http_->Stop();
  if (batches_ != nullptr) batches_->Stop();
  if (tls_ != nullptr) tls_->Stop();
  models_.StopEngines();
}

void App::ShortenDrain(absl::Duration timeout) {
  models_.BeginDrain(timeout);
  if (upstreams_ == nullptr) return;
  upstreams_->BeginDrain(timeout);
  http_->LookAgain();
  grpc_->LookAgain();
}

int App::grpc_port() const { return grpc_->port(); }

}  // namespace hadal::commands
