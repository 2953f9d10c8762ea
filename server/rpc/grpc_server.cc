// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/grpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_posix.h>

#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/base/notification.h"
#include "server/rpc/inference_service.h"

namespace hadal::rpc {
namespace {

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(GrpcOptions options, service::GenerateService* service, const service::ApiKeys* keys)
      : options_(std::move(options)),
        service_(service),
        executor_(options_.executor_threads),
        environment_{service, keys, &executor_, &registry_},
        inference_(&environment_) {}

  ~GrpcServerImpl() override {
    Shutdown(absl::ZeroDuration());
    if (sweeper_.joinable()) sweeper_.join();
  }

  absl::Status Listen() {
    static std::once_flag plugins;
    std::call_once(plugins, [] {
      // A client's malformed bytes are answered; they must not write lines to standard error as well.
      google::protobuf::SetLogHandler(nullptr);
      grpc::EnableDefaultHealthCheckService(true);
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    });
    grpc::ServerBuilder builder;
    builder.RegisterService(&inference_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(std::min<int64_t>(options_.front.max_body_bytes, INT32_MAX)));
    // Default clients ping every 10 to 30 s, also without calls; connections are renewed so that new replicas get
    // traffic.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 10 * 60 * 1000);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 60 * 60 * 1000);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    if (options_.port >= 0) {
      builder.AddListeningPort(absl::StrCat(options_.front.host, ":", options_.port), grpc::InsecureServerCredentials(),
                               &port_);
    }
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || (options_.port >= 0 && port_ <= 0)) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen for gRPC on ", options_.front.host, ":", options_.port, "; is the port in use?"));
    }
    SetServing(false);
    sweeper_ = std::thread([this] { SweepStalled(); });
    return absl::OkStatus();
  }

  void Adopt(int fd) override { grpc::AddInsecureChannelFromFd(server_.get(), fd); }
  int port() const override { return options_.port >= 0 ? port_ : -1; }
  int calls_in_progress() const override { return registry_.size(); }

  void SetServing(bool serving) override {
    grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
    health->SetServingStatus("", serving);
    health->SetServingStatus("hadal.v1.Inference", serving);
  }

  void Shutdown(absl::Duration timeout) override {
    if (server_ == nullptr || !stop_.Notify()) return;
    server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
    server_->Wait();
  }

 private:
  void SweepStalled() {
    const absl::Duration period = std::min(absl::Seconds(1), options_.front.stream.slow_reader_timeout / 4);
    while (!stop_.WaitFor(std::max(period, absl::Milliseconds(10)))) {
      registry_.DropStalled(service_->clock().Now() - options_.front.stream.slow_reader_timeout);
    }
  }

  const GrpcOptions options_;
  service::GenerateService* const service_;
  CallRegistry registry_;
  CallExecutor executor_;
  CallEnvironment environment_;
  InferenceService inference_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = -1;
  base::Notification stop_;
  std::thread sweeper_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GrpcOptions options, service::GenerateService* service,
                                                              const service::ApiKeys* keys) {
  auto server = std::make_unique<GrpcServerImpl>(std::move(options), service, keys);
  if (absl::Status status = server->Listen(); !status.ok()) return status;
  return server;
}

}  // namespace hadal::rpc
