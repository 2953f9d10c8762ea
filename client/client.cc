// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {
namespace {

std::string FinishName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_TOOL_CALLS:
      return "tool_calls";
    case v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE:
      return "insufficient_system_resource";
    default:
      return "";
  }
}

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(const ChannelOptions& options) : options_(options) {
    grpc::ChannelArguments arguments;
    arguments.SetServiceConfigJSON(ServiceConfigJson(options));
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, options.max_attempts > 1 ? 1 : 0);
    stub_ = v1::Inference::NewStub(
        grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments));
  }

  absl::StatusOr<ChatResult> Chat(const ChatOptions& options,
                                  const std::function<bool(std::string_view, std::string_view)>& on_delta) override {
    v1::ChatRequest request;
    request.set_model(options.model);
    for (const Message& message : options.messages) {
      v1::ChatMessage* out = request.add_messages();
      out->set_role(message.role);
      out->set_content(message.content);
    }
    if (options.temperature >= 0) request.mutable_sampling()->set_temperature(static_cast<float>(options.temperature));
    if (options.max_tokens > 0) request.mutable_stopping()->set_max_tokens(options.max_tokens);
    if (options.thinking >= 0) request.set_thinking(options.thinking == 1);
    request.set_chat_template_kwargs(options.chat_template_kwargs);
    for (const std::string& document : options.documents) request.add_documents(document);

    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options_.deadline));
    if (!options_.api_key.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
    if (!options.priority.empty()) context.AddMetadata("x-hadal-priority", options.priority);

    ChatResult result;
    bool stopped = false;
    auto reader = stub_->Chat(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      result.text += response.text();
      result.reasoning += response.reasoning();
      if (response.finish_reason() != v1::FINISH_REASON_UNSPECIFIED)
        result.finish_reason = FinishName(response.finish_reason());
      if (response.has_usage()) {
        result.prompt_tokens = response.usage().prompt_tokens();
        result.completion_tokens = response.usage().completion_tokens();
      }
      if (!stopped && !on_delta(response.reasoning(), response.text())) {
        stopped = true;
        context.TryCancel();
      }
    }
    const grpc::Status status = reader->Finish();
    if (stopped) return absl::CancelledError("cancelled");
    if (!status.ok()) return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
    return result;
  }

 private:
  const ChannelOptions options_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace

std::string ServiceConfigJson(const ChannelOptions& options) {
  std::string retry;
  if (options.max_attempts > 1) {
    retry = absl::StrFormat(
        R"(,"retryPolicy":{"maxAttempts":%d,"initialBackoff":"%.3fs","maxBackoff":"%.3fs","backoffMultiplier":2,)"
        R"("retryableStatusCodes":["UNAVAILABLE","RESOURCE_EXHAUSTED"]})",
        std::min(options.max_attempts, 5), absl::ToDoubleSeconds(options.initial_backoff),
        absl::ToDoubleSeconds(options.max_backoff));
  }
  // A generous throttle: below half its tokens gRPC would also drop retries that the server promised to serve.
  return absl::StrCat(R"({"loadBalancingConfig":[{"round_robin":{}}],)",
                      R"("methodConfig":[{"name":[{"service":"hadal.v1.Inference"}])", retry,
                      R"(}],"retryThrottling":{"maxTokens":100,"tokenRatio":1}})");
}

std::unique_ptr<Client> Client::Connect(const ChannelOptions& options) { return std::make_unique<ClientImpl>(options); }

}  // namespace hadal::client
