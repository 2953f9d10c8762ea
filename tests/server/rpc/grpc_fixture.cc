// SPDX-License-Identifier: Apache-2.0
#include "tests/server/rpc/grpc_fixture.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace hadal::testing {

GrpcFixture::GrpcFixture(ScriptedEngine::MakeScript script, Options options)
    : base(std::move(script), options.service) {
  if (!options.keys.empty()) keys = service::ApiKeys::Parse(options.keys, "keys").value();
  rpc::GrpcOptions server_options = options.server;
  server_options.metrics = &base.metrics;
  server_options.port = 0;
  server_options.front.stream = options.stream;
  server =
      rpc::GrpcServer::Start(server_options, base.service.get(), &keys, options.batches, options.upstreams).value();
  channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()), grpc::InsecureChannelCredentials());
  stub = v1::Inference::NewStub(channel);
}

GrpcFixture::Reply GrpcFixture::Chat(const v1::ChatRequest& request,
                                     const std::vector<std::pair<std::string, std::string>>& metadata) {
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

v1::ChatRequest GrpcFixture::Hello() {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("1 + 1");
  request.mutable_stopping()->set_max_tokens(32);
  return request;
}

}  // namespace hadal::testing
