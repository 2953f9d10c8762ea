// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/metrics.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"

namespace hadal::http {

// What the health routes say. Filled from atomics: the callback must not wait for anything.
struct HealthReport {
  bool live = true;      // /health/live: steps are made when there is work; never false because of load
  bool started = false;  // /health/startup: the models are loaded
  bool ready = false;    // /health/ready: started, not draining, no device fault
  std::string stage;     // "loading", "ready", "draining", "device_fault", ...
  double progress = 0;   // share of the load that is done, 0..1
  std::string message;   // why not live or not ready; empty when there is nothing to say
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8000;                      // 0 picks one; HttpServer::port() tells it
  int io_threads = 1;                   // beside the reserved one
  int overload_http_status = 503;       // 503 or 429 for refusals for capacity
  int64_t max_header_bytes = 32 << 10;  // request line and header fields: 431
  int64_t max_target_bytes = 8 << 10;   // 414
  int64_t max_body_bytes = 16 << 20;    // 413, before it is read whole
  int max_json_depth = 64;              // nesting of a body
  int max_connections = 4096;
  absl::Duration request_timeout = absl::Seconds(60);  // for headers, and again for the body, to arrive
  absl::Duration idle_timeout = absl::Seconds(75);     // of a kept connection between requests
  absl::Duration slow_reader_timeout =
      absl::Seconds(60);  // a write that makes no progress for so long drops the client
  absl::Duration keep_alive_interval = absl::Seconds(10);  // SSE comments while nothing else is sent
  absl::Duration linger_timeout = absl::Seconds(2);        // reading on after a refusal, so that the client sees it
  std::string version = "0.1.0";                           // for GET /version
  std::string server_header = "hadal";
};

// The HTTP/1.1 front and the listener of the one port. One reserved thread accepts, tells gRPC from HTTP by the first
// bytes and answers health and metrics, so that these answer under any load; io_threads own the other connections, each
// connection on one thread. Nothing on these threads blocks: parsing, rendering and tokenising run on the service's
// workers. Thread-safe. Borrows the service, which must outlive it.
class HttpServer {
 public:
  struct Dependencies {
    service::GenerateService* service = nullptr;
    service::ApiKeys keys;
    base::MetricRegistry* metrics = nullptr;  // what /metrics shows, its own included; nullptr: nothing, 503
    std::function<HealthReport()> health;
    // Takes a connected socket that began with the HTTP/2 preface, nothing of it read, non-blocking; owns it from then
    // on. Empty: such connections are answered with 400.
    std::function<void(int fd)> adopt_http2;
  };

  // Binds and listens; nothing is accepted before Start. The error names address and port.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(HttpOptions options, Dependencies dependencies);
  ~HttpServer();  // Stop()

  void Start();
  int port() const;

  // From now on answers close their connections, and idle ones are closed. New requests are still read, so that they
  // get the refusal of the admission controller.
  void BeginDrain();
  // Waits until no call is being answered; false when the time-out passed.
  bool WaitIdle(absl::Duration timeout);
  // Closes everything, cancels what still runs, joins the threads. Idempotent.
  void Stop();

  // Calls being answered and connections open, at this moment.
  int64_t active_calls() const;
  int64_t open_connections() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::http
