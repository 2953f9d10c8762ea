// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/grpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>

#include <algorithm>
#include <climits>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/base/notification.h"
#include "server/rpc/health_call.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/server_call.h"
#include "server/rpc/tcp_listener.h"

namespace hadal::rpc {
namespace {

// Calls that a connection may have open beyond its streams: those that have ended on the wire and are being cleared
// away, and those of clients that have not seen the limit yet.
constexpr int kStreamSlack = 128;
constexpr absl::Duration kMaxSweepPeriod = absl::Milliseconds(250);
// A client that does not answer within kKeepAliveTimeoutMs is gone.
constexpr int kKeepAliveMs = 60 * 1000;
constexpr int kKeepAliveTimeoutMs = 20 * 1000;
// For the last words to clients, once calls were cancelled at the end of the server.
constexpr absl::Duration kGoodbye = absl::Milliseconds(500);
constexpr int kMaxMetadataBytes = 16 << 10;

// The library's form of a duration; for ever is INT_MAX.
int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(duration), INT_MAX));
}

absl::Duration ZeroIsForever(absl::Duration limit) {
  return limit == absl::ZeroDuration() ? absl::InfiniteDuration() : limit;
}

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(GrpcOptions options, service::GenerateService* service, const service::ApiKeys* keys,
                 batches::BatchService* batches, upstream::Upstreams* upstreams)
      : options_(std::move(options)),
        metrics_(options_.metrics),
        connections_(options_.max_connections, &metrics_),
        pending_calls_(options_.max_pending_calls, &metrics_.pending_calls.Get()),
        public_calls_(options_.max_pending_calls, nullptr),
        executor_(options_.executor_threads),
        environment_{.service = service,
                     .keys = keys,
                     .batches = batches,
                     .upstreams = upstreams,
                     .passable_calls = &passable_calls_,
                     .executor = &executor_,
                     .registry = &registry_,
                     .connections = &connections_,
                     .pending_calls = &pending_calls_,
                     .public_calls = &public_calls_,
                     .health = &health_,
                     .metrics = &metrics_,
                     .limits = {options_.front.max_body_bytes, options_.message_timeout,
                                options_.front.stream.slow_reader_timeout},
                     .max_connection_calls = options_.max_streams + kStreamSlack,
                     .overload_code = options_.overload_code,
                     .load_reports = options_.load_reports},
        inference_(&environment_) {}

  ~GrpcServerImpl() override {
    Shutdown(absl::ZeroDuration());
    if (sweeper_.joinable()) sweeper_.join();
  }

  absl::Status Listen() {
    static std::once_flag libraries;
    std::call_once(libraries, [] {
      // For the life of the process: the library's end waits for ever for a timer thread that the system has refused.
      grpc_init();
      // A client's malformed bytes are answered; they must not write lines to standard error as well.
      google::protobuf::SetLogHandler(nullptr);
      // Distributions may build Abseil as for debugging: each lock of gRPC then takes a global one to look for cycles.
      absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    });
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&inference_);
    SetLimits(&builder);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::UnavailableError("the gRPC server does not start");
    sweeper_ = std::thread([this] { Sweep(); });
    if (options_.port < 0) return absl::OkStatus();
    // The library would accept any number of connections.
    const auto take = [this](int fd) {
      if (options_.screen == nullptr || !options_.screen(fd)) Adopt(fd, {.network = base::PeerNetwork(fd)});
    };
    auto listener = TcpListener::Start(options_.front.host, options_.port, take, options_.tcp_fast_open);
    if (!listener.ok()) return listener.status();
    listener_ = *std::move(listener);
    return absl::OkStatus();
  }

  void Adopt(int fd, base::Peer peer) override {
    if (!connections_.Add(fd, std::move(peer))) {
      return RefuseConnection(fd, connections_.closed() ? WhyNot::kEnding : WhyNot::kTooMany);
    }
    base::SetAcknowledgeTimeout(fd, options_.front.stream.slow_reader_timeout);
    grpc::AddInsecureChannelFromFd(server_.get(), fd);
  }
  int port() const override { return listener_ == nullptr ? -1 : listener_->port(); }
  int calls_in_progress() const override { return registry_.size(); }
  void SetServing(bool serving) override { health_.Set(serving); }

  bool WaitPassedOn(absl::FunctionRef<absl::Time()> until) override { return passable_calls_.WaitZero(until); }
  void LookAgain() override { passable_calls_.LookAgain(); }

  void Shutdown(absl::Duration timeout) override {
    if (server_ == nullptr || !stop_.Notify()) return;
    if (listener_ != nullptr) listener_->Stop();
    connections_.Close();  // the HTTP port still has a listener
    // What only waits for its client would hold up the others' end.
    for (const std::shared_ptr<ServerCall>& call : registry_.List()) call->StopWaiting();
    // The library closes a connection only when it has written what it is writing, and a client whose host has vanished
    // takes nothing.
    base::Notification ended;
    std::thread last_resort([&] {
      if (!ended.WaitFor(timeout + kGoodbye)) connections_.DisconnectAll();
    });
    // The library gives CANCELLED to a call that arrives while it ends, which nobody retries. On a connection that
    // closes it is UNAVAILABLE, so each is closed as soon as it has no call.
    const absl::Time end = absl::Now() + timeout;
    while (connections_.DisconnectIdle() && absl::Now() < end) ended.WaitFor(absl::Milliseconds(2));
    server_->Shutdown(absl::ToChronoTime(end));
    server_->Wait();
    // All calls have left the registry. The library knows that under locks of its own, which ThreadSanitizer does not
    // see.
    (void)registry_.size();
    connections_.DisconnectAll();  // one that came at the last moment would wait for ever
    ended.Notify();
    last_resort.join();
  }

 private:
  void SetLimits(grpc::ServerBuilder* builder) const {
    grpc::ResourceQuota quota("hadal");
    quota.Resize(static_cast<size_t>(options_.memory_bytes));
    builder->SetResourceQuota(quota);
    // The library looks at the size when the message is there, as ServerCall does, but tells nobody that it refused
    // one.
    builder->SetMaxReceiveMessageSize(-1);
    const std::pair<const char*, int> arguments[] = {
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, options_.max_streams},
        {GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes},
        // A compressed message is of any size once it is inflated, and only then would its size be checked.
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE},
        {GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0},
        {GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0},
        // The window of a stream that nobody reads stays at 64 KiB; a message that is read gets the window it needs.
        {GRPC_ARG_HTTP2_BDP_PROBE, 0},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, Milliseconds(options_.min_ping_interval)},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(ZeroIsForever(options_.max_idle))},
        {GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(ZeroIsForever(options_.max_connection_age))},
        {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(options_.connection_age_grace)},
    };
    for (const auto& [name, value] : arguments) builder->AddChannelArgument(name, value);
  }

  void Sweep() {
    const absl::Duration shortest = std::min(options_.front.stream.slow_reader_timeout, options_.message_timeout);
    const absl::Duration period = std::clamp(shortest / 4, absl::Milliseconds(10), kMaxSweepPeriod);
    while (!stop_.WaitFor(period)) {
      connections_.Sweep();
      const absl::Time now = environment_.service->clock().Now();
      for (const std::shared_ptr<ServerCall>& call : registry_.List()) call->Sweep(now);
    }
  }

  const GrpcOptions options_;
  GrpcMetrics metrics_;
  ConnectionTable connections_;
  PendingCalls pending_calls_;
  PendingCalls public_calls_;
  HealthStatus health_;
  CallRegistry registry_;
  base::ActiveCount passable_calls_;
  CallExecutor executor_;
  CallEnvironment environment_;
  InferenceService inference_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<TcpListener> listener_;
  base::Notification stop_;
  std::thread sweeper_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GrpcOptions options, service::GenerateService* service,
                                                              const service::ApiKeys* keys,
                                                              batches::BatchService* batches,
                                                              upstream::Upstreams* upstreams) {
  auto server = std::make_unique<GrpcServerImpl>(std::move(options), service, keys, batches, upstreams);
  if (absl::Status status = server->Listen(); !status.ok()) return status;
  return server;
}

}  // namespace hadal::rpc
