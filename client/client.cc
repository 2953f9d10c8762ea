// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/attempt_loop.h"
#include "client/channel.h"
#include "client/generation_loop.h"
#include "client/load_report.h"
#include "client/mailbox.h"
#include "client/requests.h"
#include "client/response_cache.h"
#include "client/run_soon.h"
#include "client/sharing_client.h"
#include "client/unary_loop.h"

namespace hadal::client {
namespace {

using Async = v1::Inference::StubInterface::async_interface;

// How often a blocking call looks whether its caller still wants it.
constexpr absl::Duration kIdle = absl::Milliseconds(100);

absl::StatusOr<GenerationResult> ReadAll(Generation& generation, const OnDelta& on_delta) {
  Mailbox<std::optional<Piece>> mailbox;
  bool wanted = true;
  const auto offer = [&](const Piece& piece) {
    if (!wanted) return;
    if (piece.choice == 0 ? on_delta(piece.reasoning, piece.text) : on_delta("", "")) return;
    wanted = false;
    generation.Cancel();
  };
  while (true) {
    generation.Next([&mailbox](std::optional<Piece> piece) { mailbox.Put(std::move(piece)); });
    std::optional<std::optional<Piece>> next = mailbox.Take(kIdle);
    for (; !next.has_value(); next = mailbox.Take(kIdle)) offer({});
    if (!next->has_value()) return generation.result();
    offer(**next);
  }
}

// `done`, told what `translate` makes of the response.
template <typename T, typename Translate>
auto Translated(Client::Done<T> done, Translate translate) {
  return [done = std::move(done), translate](auto response) {
    if (response.ok()) {
      done(translate(*response));
    } else {
      done(response.status());
    }
  };
}

// Cancels when its reader lets go of it.
class GenerationHandle final : public Generation {
 public:
  explicit GenerationHandle(std::shared_ptr<GenerationLoop> loop) : loop_(std::move(loop)) {}
  ~GenerationHandle() override { loop_->Stop(); }

  void Next(Then then) override { loop_->Next(std::move(then)); }
  void Cancel() override { loop_->Stop(); }
  void EndThinking(std::function<void(absl::Status)> done) override { loop_->EndThinking(std::move(done)); }
  absl::StatusOr<GenerationResult> result() const override { return loop_->result(); }

 private:
  const std::shared_ptr<GenerationLoop> loop_;
};

// A call that cannot be made.
class FailedGeneration final : public Generation {
 public:
  explicit FailedGeneration(absl::Status status) : status_(std::move(status)) {}

  void Next(Then then) override {
    RunSoon([then = std::move(then)] { then(std::nullopt); });
  }
  void Cancel() override {}
  void EndThinking(std::function<void(absl::Status)> done) override {
    RunSoon([done = std::move(done), status = status_] { done(status); });
  }
  absl::StatusOr<GenerationResult> result() const override { return status_; }

 private:
  const absl::Status status_;
};

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(const ChannelOptions& options)
      : deadline_(options.deadline), connections_(OpenConnections(options)) {}

  std::unique_ptr<Generation> StartChat(const ChatOptions& options) override {
    return Generate(options, [request = RequestOf(options)](Async* stub, grpc::ClientContext* context,
                                                            GenerationLoop::Reader* reader) {
      stub->Chat(context, &request, reader);
    });
  }

  std::unique_ptr<Generation> StartCompletion(const CompletionOptions& options) override {
    return Generate(options, [request = RequestOf(options)](Async* stub, grpc::ClientContext* context,
                                                            GenerationLoop::Reader* reader) {
      stub->Generate(context, &request, reader);
    });
  }

  void StartTokenize(const TokenizeOptions& options, Done<TokenizeResult> done) override {
    Unary<v1::TokenizeResponse>(
        RequestOf(options), &Async::Tokenize, Translated(std::move(done), [](const v1::TokenizeResponse& response) {
          return TokenizeResult{{response.token_ids().begin(), response.token_ids().end()}, response.max_model_len()};
        }));
  }

  void StartDetokenize(const DetokenizeOptions& options, Done<std::string> done) override {
    Unary<v1::DetokenizeResponse>(
        RequestOf(options), &Async::Detokenize,
        Translated(std::move(done), [](const v1::DetokenizeResponse& response) { return response.text(); }));
  }

  void StartListModels(Done<std::vector<ModelDescription>> done) override {
    Unary<v1::ListModelsResponse>(
        v1::ListModelsRequest(), &Async::ListModels,
        Translated(std::move(done), [](const v1::ListModelsResponse& response) {
          std::vector<ModelDescription> models;
          for (const v1::ModelInfo& model : response.models()) {
            models.push_back({model.id(), model.family(), model.max_model_len(), model.parameters(), model.dtype()});
          }
          return models;
        }));
  }

  absl::StatusOr<std::vector<Load>> GetLoad(absl::Duration timeout) override {
    std::vector<Load> loads;
    grpc::Status last;
    for (const auto& [target, server] : connections_->servers()) {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
      for (const auto& [name, value] : connections_->identity()) context.AddMetadata(name, value);
      v1::GetLoadResponse response;
      last = server.stub->GetLoad(&context, v1::GetLoadRequest(), &response);
      if (!last.ok()) continue;
      loads.push_back({.target = target->address(),
                       .requests_running = response.requests_running(),
                       .requests_waiting = response.requests_waiting(),
                       .kv_cache_usage_ratio = response.kv_cache_usage_ratio(),
                       .predicted_wait = absl::Seconds(response.predicted_wait_seconds()),
                       .ready = response.ready(),
                       .draining = response.draining(),
                       .queue_limit_requests = response.queue_limit_requests(),
                       .queue_tokens = response.queue_tokens(),
                       .memory_budget_bytes = response.memory_budget_bytes(),
                       .memory_committed_bytes = response.memory_committed_bytes()});
      target->Report(RequestsOf(response));
    }
    if (loads.empty()) return ToAbsl(last);
    return loads;
  }

  CallCounts counts() const override { return connections_->targets().counts(); }

  absl::Status WarmUp(absl::Duration timeout) override {
    const auto deadline = absl::ToChronoTime(absl::Now() + timeout);
    connections_->ConnectAhead();
    std::string away;
    for (const auto& [target, server] : connections_->servers()) {
      if (!server.channel->WaitForConnected(deadline))
        absl::StrAppend(&away, away.empty() ? "" : ", ", target->address());
    }
    if (away.empty()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("no connection within ", absl::FormatDuration(timeout), " to ", away));
  }

 private:
  std::unique_ptr<Generation> Generate(const GenerationOptions& options, GenerationLoop::Open open) {
    absl::StatusOr<Metadata> metadata = MetadataOf(options);
    if (!metadata.ok()) return std::make_unique<FailedGeneration>(metadata.status());
    return std::make_unique<GenerationHandle>(std::make_shared<GenerationLoop>(
        connections_, *std::move(metadata), absl::Now() + std::min(deadline_, options.deadline), std::move(open),
        options.whole));
  }

  template <typename Response, typename Request>
  void Unary(Request request, typename UnaryLoop<Request, Response>::Method method,
             typename UnaryLoop<Request, Response>::Done done) {
    std::make_shared<UnaryLoop<Request, Response>>(connections_, Metadata(), absl::Now() + deadline_, method,
                                                   std::move(request), std::move(done))
        ->Start();
  }

  const absl::Duration deadline_;
  const std::shared_ptr<Connections> connections_;
};

}  // namespace

absl::StatusOr<GenerationResult> Client::Chat(const ChatOptions& options, const OnDelta& on_delta) {
  return ReadAll(*StartChat(options), on_delta);
}

absl::StatusOr<GenerationResult> Client::Complete(const CompletionOptions& options, const OnDelta& on_delta) {
  return ReadAll(*StartCompletion(options), on_delta);
}

void Client::StartTokenize(const std::string& text, Done<std::vector<int32_t>> done) {
  TokenizeOptions options;
  options.text = text;
  StartTokenize(options, Translated(std::move(done), [](const TokenizeResult& result) { return result.token_ids; }));
}

void Client::StartDetokenize(absl::Span<const int32_t> token_ids, Done<std::string> done) {
  DetokenizeOptions options;
  options.token_ids.assign(token_ids.begin(), token_ids.end());
  StartDetokenize(options, std::move(done));
}

absl::StatusOr<TokenizeResult> Client::Tokenize(const TokenizeOptions& options) {
  return WaitFor<TokenizeResult>([&](auto done) { StartTokenize(options, std::move(done)); });
}

absl::StatusOr<std::string> Client::Detokenize(const DetokenizeOptions& options) {
  return WaitFor<std::string>([&](auto done) { StartDetokenize(options, std::move(done)); });
}

absl::StatusOr<std::vector<int32_t>> Client::Tokenize(const std::string& text) {
  return WaitFor<std::vector<int32_t>>([&](auto done) { StartTokenize(text, std::move(done)); });
}

absl::StatusOr<std::string> Client::Detokenize(absl::Span<const int32_t> token_ids) {
  return WaitFor<std::string>([&](auto done) { StartDetokenize(token_ids, std::move(done)); });
}

absl::StatusOr<std::vector<ModelDescription>> Client::ListModels() {
  return WaitFor<std::vector<ModelDescription>>([&](auto done) { StartListModels(std::move(done)); });
}

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
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  std::unique_ptr<ResponseCache> cache;
  if (options.cache.on()) {
    absl::StatusOr<std::unique_ptr<ResponseCache>> opened = ResponseCache::Open(options.cache);
    if (!opened.ok()) return opened.status();
    cache = *std::move(opened);
  }
  auto client = std::make_unique<ClientImpl>(options);
  if (cache == nullptr && !options.coalesce) return std::unique_ptr<Client>(std::move(client));
  return std::make_unique<SharingClient>(std::move(client), options, std::move(cache));
}

}  // namespace hadal::client
