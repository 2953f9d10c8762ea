// SPDX-License-Identifier: Apache-2.0
#include "tests/server/grpc_storm_caller.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>
#include <thread>

namespace hadal::testing {

GrpcStormCaller::GrpcStormCaller(int port, unsigned seed, StormTally* tally) : random_(seed), tally_(*tally) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  stub_ = v1::Inference::NewStub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments));
}

void GrpcStormCaller::Call() {
  const unsigned kind = random_() % 5;
  if (kind == 4) return AskForState();
  grpc::ClientContext context;
  const auto patience = std::chrono::milliseconds(kind == 3 ? random_() % 20 : 5000);
  context.set_deadline(std::chrono::system_clock::now() + patience);
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("1 + 1");
  request.mutable_stopping()->set_max_tokens(kind == 0 ? 1 + static_cast<int>(random_() % 60) : 100000);
  auto reader = stub_->Chat(&context, request);
  v1::GenerateResponse response;
  if (kind == 0 || kind == 3) {
    while (reader->Read(&response)) {
    }
  } else if (kind == 1) {
    reader->Read(&response);
    context.TryCancel();
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 300));  // reads nothing
    context.TryCancel();
  }
  Count(reader->Finish().error_code());
}

void GrpcStormCaller::AskForState() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  if (random_() % 2 == 0) {
    v1::GetLoadResponse load;
    stub_->GetLoad(&context, {}, &load);
  } else {
    v1::TokenizeRequest text;
    text.set_text("one two");
    v1::TokenizeResponse ids;
    stub_->Tokenize(&context, text, &ids);
  }
}

void GrpcStormCaller::Count(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      ++tally_.answered;
      break;
    case grpc::StatusCode::UNAVAILABLE:
      ++tally_.refused;
      break;
    case grpc::StatusCode::CANCELLED:
      ++tally_.cancelled;
      break;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      ++tally_.expired;
      break;
    default:
      ++tally_.wrong;
  }
}

}  // namespace hadal::testing
