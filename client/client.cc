// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/numbers.h"
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

// One attempt at a call, and what the server said about the next.
struct Attempt {
  absl::Status status;
  ChatResult result;
  bool begun = false;  // something has arrived: it is final
  std::optional<int64_t> pushback_ms;
  std::string ticket;
};

void ReadTrailers(const grpc::ClientContext& context, Attempt* attempt) {
  const auto& trailers = context.GetServerTrailingMetadata();
  int64_t ms = 0;
  if (const auto it = trailers.find("grpc-retry-pushback-ms");
      it != trailers.end() && absl::SimpleAtoi(absl::string_view(it->second.data(), it->second.size()), &ms)) {
    attempt->pushback_ms = ms;
  }
  if (const auto it = trailers.find("x-hadal-ticket"); it != trailers.end()) {
    attempt->ticket.assign(it->second.data(), it->second.size());
  }
}

v1::ChatRequest RequestOf(const ChatOptions& options) {
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
  return request;
}

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(const ChannelOptions& options) : options_(options) {
    grpc::ChannelArguments arguments;
    // gRPC's own retries would send no ticket.
    ChannelOptions once = options;
    once.max_attempts = 1;
    arguments.SetServiceConfigJSON(ServiceConfigJson(once));
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    if (options.tls) {
      credentials = grpc::SslCredentials({options.tls_authorities, options.tls_key, options.tls_certificate});
    }
    stub_ = v1::Inference::NewStub(grpc::CreateCustomChannel(options.target, credentials, arguments));
  }

  absl::StatusOr<ChatResult> Chat(const ChatOptions& options,
                                  const std::function<bool(std::string_view, std::string_view)>& on_delta) override {
    const v1::ChatRequest request = RequestOf(options);
    const absl::Time deadline = absl::Now() + options_.deadline;
    absl::BitGen random;
    std::string ticket;
    for (int attempt = 0;; ++attempt) {
      Attempt made = Try(request, options, deadline, attempt, ticket, on_delta);
      if (made.status.ok()) return std::move(made.result);
      const std::optional<absl::Duration> wait = WaitAfter(made, attempt, random);
      if (!wait.has_value() || absl::Now() + *wait >= deadline) return made.status;
      absl::SleepFor(*wait);
      ticket = std::move(made.ticket);
    }
  }

 private:
  Attempt Try(const v1::ChatRequest& request, const ChatOptions& options, absl::Time deadline, int earlier_attempts,
              const std::string& ticket, const std::function<bool(std::string_view, std::string_view)>& on_delta) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    if (!options_.api_key.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
    if (!options.priority.empty()) context.AddMetadata("x-hadal-priority", options.priority);
    if (!options.traceparent.empty()) context.AddMetadata("traceparent", options.traceparent);
    if (!options.tracestate.empty()) context.AddMetadata("tracestate", options.tracestate);
    if (!ticket.empty()) context.AddMetadata("x-hadal-ticket", ticket);
    context.AddMetadata("x-stainless-retry-count", absl::StrCat(earlier_attempts));

    Attempt attempt;
    ChatResult& result = attempt.result;
    bool stopped = false;
    auto reader = stub_->Chat(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      attempt.begun = true;
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
    if (stopped) {
      attempt.status = absl::CancelledError("cancelled");
    } else if (!status.ok()) {
      attempt.status = absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
      ReadTrailers(context, &attempt);
    }
    return attempt;
  }

  // How long to wait for the next attempt; nullopt: there is none.
  std::optional<absl::Duration> WaitAfter(const Attempt& made, int attempt, absl::BitGen& random) const {
    const bool refused = made.status.code() == absl::StatusCode::kUnavailable ||
                         made.status.code() == absl::StatusCode::kResourceExhausted;
    if (!refused || made.begun || attempt + 1 >= options_.max_attempts) return std::nullopt;
    if (made.pushback_ms.has_value()) {
      if (*made.pushback_ms < 0) return std::nullopt;
      return absl::Milliseconds(*made.pushback_ms);
    }
    const double most = std::min(absl::ToDoubleSeconds(options_.max_backoff),
                                 absl::ToDoubleSeconds(options_.initial_backoff) * std::pow(2.0, attempt));
    return absl::Seconds(absl::Uniform(random, 0.0, std::max(most, 1e-3)));
  }

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
