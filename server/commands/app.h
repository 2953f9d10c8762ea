// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/admission/admission.h"
#include "server/admission/forecast_thread.h"
#include "server/base/metrics.h"
#include "server/base/notification.h"
#include "server/base/span.h"
#include "server/batches/batch_metrics.h"
#include "server/batches/batch_service.h"
#include "server/commands/model_host.h"
#include "server/commands/mps.h"
#include "server/commands/server_config.h"
#include "server/commands/server_load.h"
#include "server/commands/server_metrics.h"
#include "server/http/http_server.h"
#include "server/kv_events/event_publisher.h"
#include "server/response_cache/response_cache.h"
#include "server/rpc/grpc_server.h"
#include "server/service/access_log.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"
#include "server/service/tracer.h"
#include "server/tls/terminator.h"
#include "server/trace/trace_metrics.h"
#include "server/upstream/upstreams.h"

namespace hadal::commands {

// The assembled server: fronts, service, admission, and one engine per model. Start listens before Load loads the
// models, so that health checks and refusals (MODEL_LOADING) work from the first second. Start, Load and Drain are for
// one thread at a time.
class App {
 public:
  // `on_failure` is called, on an engine's thread, when Failure() becomes non-empty; it may only wake another thread.
  // `mps` is what PrepareMps said.
  App(ServerConfig config, MpsState mps, std::function<void()> on_failure);
  ~App();

  // Reads keys, binds the ports, answers health. Errors name the flag.
  absl::Status Start();
  // Loads every model, then opens for requests. Gives up between models once `cancelled`.
  absl::Status Load(base::Notification& cancelled);
  // Reloads the TLS certificate and key for new connections. Keeps the old ones on an error.
  void ReloadTls(std::string_view cause);
  // Reloads --api-key-file for new requests. Keeps the old keys if it cannot be read. `cause` is for the log.
  void ReloadKeys(std::string_view cause);
  // Reads the keys of --fallback-upstream again. Keeps the old ones when a file cannot be read.
  void ReloadUpstreamKeys(std::string_view cause);
  // Opens the file of --access-log again, as after it was renamed. Keeps the old one when it cannot.
  void ReopenAccessLog();
  // Refuses new and waiting requests, lets running ones finish for at most `timeout`, ends the rest, closes.
  void Drain(absl::Duration timeout);
  // From another thread, while Drain runs: at most `timeout` from now.
  void ShortenDrain(absl::Duration timeout);
  // A device fault or a closed listener: the process should end. Empty while all is well.
  std::string Failure() const;
  // See ModelHost::UpdateBudget.
  void UpdateBudget() { models_.UpdateBudget(); }

  int port() const { return http_->port(); }
  int grpc_port() const;

 private:
  absl::Status LoadKeys();
  absl::Status OpenAccessLog();
  absl::Status StartTls();
  absl::Status CreateAdmission();
  absl::Status CreateKvEvents();
  absl::Status CreateTracer();
  absl::Status CreateUpstreams();
  absl::Status CreateService();
  absl::Status OpenBatches();
  absl::Status StartGrpc();
  absl::Status StartHttp();

  LoadSources Sources() const;
  http::HealthReport Health() const;

  const ServerConfig config_;
  base::MetricRegistry metrics_;
  ServerMetrics server_metrics_{&metrics_};
  tls::TlsMetrics tls_metrics_{&metrics_};
  kv_events::KvEventMetrics kv_event_metrics_{&metrics_};
  batches::BatchMetrics batch_metrics_{&metrics_};
  service::ApiKeys keys_;
  std::unique_ptr<service::AccessLog> access_log_;  // null: none
  trace::TraceMetrics trace_metrics_{&metrics_};
  std::unique_ptr<base::SpanSink> spans_;  // null: no traces
  std::unique_ptr<service::Tracer> tracer_;
  std::unique_ptr<admission::AdmissionController> admission_;
  std::unique_ptr<admission::ForecastThread> forecasts_;
  std::unique_ptr<kv_events::EventPublisher> kv_events_;  // null: not asked for
  ModelHost models_;
  response_cache::ResponseCacheMetrics response_cache_metrics_{&metrics_};
  std::unique_ptr<response_cache::ResponseCache> response_cache_;  // null: nothing asks for it
  std::unique_ptr<upstream::Upstreams> upstreams_;                 // null: there are none
  std::unique_ptr<service::GenerateService> service_;
  std::unique_ptr<batches::BatchService> batches_;  // null: files and batches are off
  std::unique_ptr<tls::Terminator> tls_;            // null: connections are plain
  std::unique_ptr<rpc::GrpcServer> grpc_;
  std::unique_ptr<http::HttpServer> http_;
  std::atomic<http::HttpServer*> screen_{nullptr};  // http_, once it runs: for gRPC's listener
  std::atomic<bool> draining_{false};
};

}  // namespace hadal::commands
