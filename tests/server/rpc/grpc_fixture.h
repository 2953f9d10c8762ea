// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <map>
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
    batches::BatchService* batches = nullptr;
    upstream::Upstreams* upstreams = nullptr;
  };

  explicit GrpcFixture(ScriptedEngine::MakeScript script) : GrpcFixture(std::move(script), Options()) {}
  GrpcFixture(ScriptedEngine::MakeScript script, Options options);
  ~GrpcFixture() { server->Shutdown(absl::ZeroDuration()); }

  struct Reply {
    std::vector<v1::GenerateResponse> messages;
    grpc::Status status;
    std::multimap<std::string, std::string> trailers;
  };
  Reply Chat(const v1::ChatRequest& request, const std::vector<std::pair<std::string, std::string>>& metadata = {});

  static v1::ChatRequest Hello();

  ServiceFixture base;
  service::ApiKeys keys;
  std::unique_ptr<rpc::GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Inference::Stub> stub;
};

}  // namespace hadal::testing
