// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/metrics.h"
#include "server/base/network.h"
#include "server/batches/batch_service.h"
#include "server/http/http_options.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"
#include "server/tls/terminator.h"
#include "server/upstream/upstreams.h"

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

// The HTTP/1.1 front and the listener of the shared port. One reserved thread accepts connections, distinguishes gRPC
// from HTTP by the first bytes, and answers health and metrics, so that these work under any load. io_threads own the
// other connections, each on one thread. Nothing on these threads blocks: parsing, rendering and tokenising run on the
// service's workers. Thread-safe. Borrows the service, which must outlive it.
//
// Without a service it answers only health, metrics and the version: the port of a process that serves no requests.
class HttpServer {
 public:
  struct Dependencies {
    service::GenerateService* service = nullptr;  // nullptr: all but health, metrics and version is 404
    service::ApiKeys keys;
    batches::BatchService* batches = nullptr;  // outlives the server; nullptr: files and batches are off
    base::MetricRegistry* metrics = nullptr;   // what /metrics shows, its own included; nullptr: nothing, 503
    std::function<HealthReport()> health;
    // Takes a connected socket that began with the HTTP/2 preface, nothing of it read, non-blocking; owns it from then
    // on. One whose first request is not gRPC is answered with 415 instead. Empty: there is no gRPC.
    std::function<void(int fd, base::Peer peer)> adopt_http2;
    // gRPC has a port of its own, whose connections come through Screen; on this one they get 400.
    bool grpc_elsewhere = false;
    // Answer what this server would refuse. Outlive the server. Null: there are none.
    upstream::Upstreams* upstreams = nullptr;
    // Every connection begins with TLS, and this ends it. Outlives the server. Null: connections are plain.
    tls::Terminator* tls = nullptr;
  };

  // Binds and listens; nothing is accepted before Start. The error names address and port, or says that there are no
  // file descriptors for the I/O threads.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(HttpOptions options, Dependencies dependencies);
  ~HttpServer();  // Stop()

  void Start();
  int port() const;
  // Takes a connection to gRPC's own port, non-blocking, nothing of it read: to `adopt_http2`, or 415 as above. TLS is
  // ended here, too.
  void Screen(int fd);

  // From now on responses close their connections, and idle ones are closed. New requests are still read, so that they
  // get the refusal of the admission controller.
  void BeginDrain();
  // Waits until no call is in flight; false when the time-out passed.
  bool WaitIdle(absl::Duration timeout);
  // The same until a moment of Clock::Real() that may be moved meanwhile, as ActiveCount::WaitZero.
  bool WaitIdle(absl::FunctionRef<absl::Time()> until);
  void LookAgain();
  // Closes everything, cancels what still runs, joins the threads. Idempotent.
  void Stop();

  // Calls in flight and open connections, at this moment.
  int64_t active_calls() const;
  int64_t open_connections() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::http
