// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {
namespace {

using Stub = v1::Inference::Stub;

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

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// One attempt at a call.
struct Attempt {
  grpc::ClientContext context;
  grpc::Status status;
  bool begun = false;    // something has arrived: it is final
  bool stopped = false;  // the caller wants no more
};

std::string Trailer(const Attempt& attempt, const char* key) {
  const auto& trailers = attempt.context.GetServerTrailingMetadata();
  const auto it = trailers.find(key);
  return it == trailers.end() ? "" : std::string(it->second.data(), it->second.size());
}

bool ForCapacity(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
}

Refusal RefusalOf(const Attempt& attempt) {
  Refusal refusal;
  int64_t pushback_ms = 0;
  if (absl::SimpleAtoi(Trailer(attempt, "grpc-retry-pushback-ms"), &pushback_ms)) {
    refusal.final = pushback_ms < 0;
    refusal.after = absl::Milliseconds(pushback_ms);
  } else {
    // gRPC's own: a message that is too large does not become smaller.
    refusal.final = attempt.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
  }
  refusal.ticket = Trailer(attempt, "x-hadal-ticket");
  return refusal;
}

// Nothing came back, not even a refusal: the connection could not be made, or broke.
bool Unanswered(const Attempt& attempt) {
  return attempt.status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         attempt.context.GetServerTrailingMetadata().empty();
}

void Fill(const GenerationOptions& options, v1::SamplingParams* sampling, v1::StopConditions* stopping) {
  if (options.temperature >= 0) sampling->set_temperature(static_cast<float>(options.temperature));
  if (options.max_tokens > 0) stopping->set_max_tokens(options.max_tokens);
}

v1::ChatRequest RequestOf(const ChatOptions& options) {
  v1::ChatRequest request;
  request.set_model(options.model);
  Fill(options, request.mutable_sampling(), request.mutable_stopping());
  for (const Message& message : options.messages) {
    v1::ChatMessage* out = request.add_messages();
    out->set_role(message.role);
    out->set_content(message.content);
  }
  if (options.thinking >= 0) request.set_thinking(options.thinking == 1);
  request.set_chat_template_kwargs(options.chat_template_kwargs);
  for (const std::string& document : options.documents) request.add_documents(document);
  return request;
}

v1::GenerateRequest RequestOf(const CompletionOptions& options) {
  v1::GenerateRequest request;
  request.set_model(options.model);
  Fill(options, request.mutable_sampling(), request.mutable_stopping());
  if (options.token_ids.empty()) {
    request.set_text(options.prompt);
  } else {
    request.mutable_token_ids()->mutable_ids()->Assign(options.token_ids.begin(), options.token_ids.end());
  }
  return request;
}

void Append(const v1::GenerateResponse& response, GenerationResult* result) {
  result->text += response.text();
  result->reasoning += response.reasoning();
  if (response.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    result->finish_reason = FinishName(response.finish_reason());
  }
  if (response.has_usage()) {
    result->prompt_tokens = response.usage().prompt_tokens();
    result->completion_tokens = response.usage().completion_tokens();
  }
}

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(const ChannelOptions& options) : options_(options), targets_(options.targets, options.retry) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // gRPC's own would send no ticket
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    if (options.tls) {
      credentials = grpc::SslCredentials({options.tls_authorities, options.tls_key, options.tls_certificate});
    }
    for (const auto& target : targets_.all()) {
      Server& server = servers_[target.get()];
      server.channel = grpc::CreateCustomChannel(target->address(), credentials, arguments);
      server.stub = v1::Inference::NewStub(server.channel);
    }
  }

  absl::StatusOr<GenerationResult> Chat(const ChatOptions& options, const OnDelta& on_delta) override {
    return Stream(RequestOf(options), options, &Stub::Chat, on_delta);
  }

  absl::StatusOr<GenerationResult> Complete(const CompletionOptions& options, const OnDelta& on_delta) override {
    return Stream(RequestOf(options), options, &Stub::Generate, on_delta);
  }

  absl::StatusOr<std::vector<int32_t>> Tokenize(const std::string& text) override {
    v1::TokenizeRequest request;
    request.set_text(text);
    const auto response = Unary<v1::TokenizeResponse>(request, &Stub::Tokenize);
    if (!response.ok()) return response.status();
    return std::vector<int32_t>(response->token_ids().begin(), response->token_ids().end());
  }

  absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> token_ids) override {
    v1::DetokenizeRequest request;
    request.mutable_token_ids()->Assign(token_ids.begin(), token_ids.end());
    const auto response = Unary<v1::DetokenizeResponse>(request, &Stub::Detokenize);
    if (!response.ok()) return response.status();
    return response->text();
  }

  absl::StatusOr<std::vector<ModelDescription>> ListModels() override {
    const auto response = Unary<v1::ListModelsResponse>(v1::ListModelsRequest(), &Stub::ListModels);
    if (!response.ok()) return response.status();
    std::vector<ModelDescription> models;
    for (const v1::ModelInfo& model : response->models()) {
      models.push_back({model.id(), model.family(), model.max_model_len()});
    }
    return models;
  }

  absl::StatusOr<std::vector<Load>> GetLoad(absl::Duration timeout) override {
    std::vector<Load> loads;
    grpc::Status last;
    for (const auto& [target, server] : servers_) {
      grpc::ClientContext context;
      Identify(&context, absl::Now() + timeout);
      v1::GetLoadResponse response;
      last = server.stub->GetLoad(&context, v1::GetLoadRequest(), &response);
      if (!last.ok()) continue;
      loads.push_back({.target = target->address(),
                       .requests_running = response.requests_running(),
                       .requests_waiting = response.requests_waiting(),
                       .kv_cache_usage_ratio = response.kv_cache_usage_ratio(),
                       .predicted_wait = absl::Seconds(response.predicted_wait_seconds()),
                       .ready = response.ready(),
                       .draining = response.draining()});
    }
    if (loads.empty()) return ToAbsl(last);
    return loads;
  }

  absl::Status WarmUp(absl::Duration timeout) override {
    const auto deadline = absl::ToChronoTime(absl::Now() + timeout);
    for (const auto& [target, server] : servers_) server.channel->GetState(/*try_to_connect=*/true);
    std::string away;
    for (const auto& [target, server] : servers_) {
      if (!server.channel->WaitForConnected(deadline))
        absl::StrAppend(&away, away.empty() ? "" : ", ", target->address());
    }
    if (away.empty()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("no connection within ", absl::FormatDuration(timeout), " to ", away));
  }

 private:
  struct Server {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<Stub> stub;
  };

  void Identify(grpc::ClientContext* context, absl::Time deadline) const {
    context->set_deadline(absl::ToChronoTime(deadline));
    if (!options_.api_key.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
  }

  // Makes attempts until one is final; `make` makes one, and fills its status.
  template <typename Make>
  absl::Status Retry(const GenerationOptions& options, const Make& make) {
    RetriedCall call(&targets_, absl::Now() + options_.deadline);
    absl::Status last = absl::UnavailableError("no server may be called before the deadline: all circuits are open");
    while (true) {
      Target* const target = call.Begin();
      if (target == nullptr) {
        const std::optional<absl::Duration> wait = call.Wait();
        if (!wait.has_value()) return last;
        absl::SleepFor(*wait);
        continue;
      }
      Attempt attempt;
      Identify(&attempt.context, call.deadline());
      for (const auto& [name, value] :
           {std::pair("x-hadal-priority", &options.priority), std::pair("traceparent", &options.traceparent),
            std::pair("tracestate", &options.tracestate)}) {
        if (!value->empty()) attempt.context.AddMetadata(name, *value);
      }
      if (const std::string ticket = call.TakeTicket(); !ticket.empty()) {
        attempt.context.AddMetadata("x-hadal-ticket", ticket);
      }
      attempt.context.AddMetadata("x-stainless-retry-count", absl::StrCat(call.attempts() - 1));
      make(servers_.at(target).stub.get(), &attempt);
      last = attempt.stopped ? absl::CancelledError("cancelled") : ToAbsl(attempt.status);
      if (last.ok() || attempt.stopped || attempt.begun || !ForCapacity(attempt.status)) {
        call.Served();
        target->Finish();
        return last;
      }
      if (Unanswered(attempt)) {
        call.Failed();
      } else {
        call.Refused(RefusalOf(attempt));
      }
    }
  }

  template <typename Request, typename Method>
  absl::StatusOr<GenerationResult> Stream(const Request& request, const GenerationOptions& options, Method method,
                                          const OnDelta& on_delta) {
    GenerationResult result;
    const absl::Status status = Retry(options, [&](Stub* stub, Attempt* attempt) {
      const auto reader = (stub->*method)(&attempt->context, request);
      v1::GenerateResponse response;
      while (reader->Read(&response)) {
        attempt->begun = true;
        Append(response, &result);
        if (!attempt->stopped && !on_delta(response.reasoning(), response.text())) {
          attempt->stopped = true;
          attempt->context.TryCancel();
        }
      }
      attempt->status = reader->Finish();
    });
    if (!status.ok()) return status;
    return result;
  }

  template <typename Response, typename Request, typename Method>
  absl::StatusOr<Response> Unary(const Request& request, Method method) {
    Response response;
    const absl::Status status = Retry(GenerationOptions(), [&](Stub* stub, Attempt* attempt) {
      attempt->status = (stub->*method)(&attempt->context, request, &response);
    });
    if (!status.ok()) return status;
    return response;
  }

  const ChannelOptions options_;
  Targets targets_;
  std::map<Target*, Server> servers_;
};

}  // namespace

std::string ServiceConfigJson(const RetryOptions& options) {
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

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ChannelOptions& options) {
  if (options.targets.empty()) return absl::InvalidArgumentError("a client needs at least one target, host:port");
  return std::make_unique<ClientImpl>(options);
}

}  // namespace hadal::client
