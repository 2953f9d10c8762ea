// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "hadal/v1/inference.grpc.pb.h"
#include "server/rpc/grpc_server.h"
#include "tests/support/service_fixture.h"

namespace hadal::testing {

// A gRPC server on a free port with a scripted engine behind it, and a client.
class GrpcFixture {
 public:
  struct Options {
    ServiceFixture::Options service;
    std::string keys;  // lines of a key file
    request::StreamOptions stream;
    rpc::GrpcOptions server = {};  // port, metrics and stream are the fixture's
  };

  explicit GrpcFixture(ScriptedEngine::MakeScript script) : GrpcFixture(std::move(script), Options()) {}
  GrpcFixture(ScriptedEngine::MakeScript script, Options options) : base(std::move(script), options.service) {
    if (!options.keys.empty()) keys = service::ApiKeys::Parse(options.keys, "keys").value();
    rpc::GrpcOptions server_options = options.server;
    server_options.metrics = &base.metrics;
    server_options.port = 0;
    server_options.front.stream = options.stream;
    server = rpc::GrpcServer::Start(server_options, base.service.get(), &keys).value();
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()), grpc::InsecureChannelCredentials());
    stub = v1::Inference::NewStub(channel);
  }
  ~GrpcFixture() { server->Shutdown(absl::ZeroDuration()); }

  struct Reply {
    std::vector<v1::GenerateResponse> messages;
    grpc::Status status;
    std::multimap<std::string, std::string> trailers;
  };
  Reply Chat(const v1::ChatRequest& request, const std::vector<std::pair<std::string, std::string>>& metadata = {}) {
    grpc::ClientContext context;
    for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    Reply reply;
    auto reader = stub->Chat(&context, request);
    v1::GenerateResponse message;
    while (reader->Read(&message)) reply.messages.push_back(message);
    reply.status = reader->Finish();
    for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
      reply.trailers.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
    }
    return reply;
  }

  static v1::ChatRequest Hello() {
    v1::ChatRequest request;
    v1::ChatMessage* message = request.add_messages();
    message->set_role("user");
    message->set_content("1 + 1");
    request.mutable_stopping()->set_max_tokens(32);
    return request;
  }

  ServiceFixture base;
  service::ApiKeys keys;
  std::unique_ptr<rpc::GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Inference::Stub> stub;
};

}  // namespace hadal::testing
