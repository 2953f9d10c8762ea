// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <coroutine>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "client/coroutine.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {
namespace {

// Refuses the first `refusals` calls with a pushback, then answers "hello".
class ScriptedServer final : public v1::Inference::Service {
 public:
  ScriptedServer(int refusals, std::string pushback_ms) : refusals_(refusals), pushback_ms_(std::move(pushback_ms)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status Chat(grpc::ServerContext* context, const v1::ChatRequest* request,
                    grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    last_ = *request;
    metadata_.clear();
    for (const auto& [key, value] : context->client_metadata()) {
      metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
    tickets_.push_back(metadata_["x-hadal-ticket"]);
    if (calls_++ < refusals_) {
      if (!pushback_ms_.empty()) context->AddTrailingMetadata("grpc-retry-pushback-ms", pushback_ms_);
      if (calls_ == 1) context->AddTrailingMetadata("x-hadal-ticket", "first");
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "busy");
    }
    v1::GenerateResponse response;
    if (endless_) {
      response.set_text("on and ");
      while (!context->IsCancelled() && writer->Write(response)) ++written_;
      return grpc::Status::CANCELLED;
    }
    response.set_text("hel");
    writer->Write(response);
    response.set_text("lo");
    response.set_finish_reason(v1::FINISH_REASON_STOP);
    writer->Write(response);
    return fail_after_text_ ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost") : grpc::Status::OK;
  }

  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    v1::GenerateResponse response;
    response.set_text(request->has_text() ? request->text() : std::to_string(request->token_ids().ids_size()));
    response.mutable_usage()->set_completion_tokens(1);
    writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    for (const char letter : request->text()) response->add_token_ids(letter);
    return grpc::Status::OK;
  }
  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    for (const int32_t id : request->token_ids()) response->mutable_text()->push_back(static_cast<char>(id));
    return grpc::Status::OK;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    if (listings_++ == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading");
    v1::ModelInfo* model = response->add_models();
    model->set_id("m");
    model->set_max_model_len(4096);
    return grpc::Status::OK;
  }
  grpc::Status GetLoad(grpc::ServerContext*, const v1::GetLoadRequest*, v1::GetLoadResponse* response) override {
    response->set_requests_waiting(waiting_);
    response->set_predicted_wait_seconds(0.25);
    response->set_ready(true);
    return grpc::Status::OK;
  }

  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }
  int calls() const { return calls_; }
  // Of the last call; not while one is under way.
  const v1::ChatRequest& last_request() const { return last_; }
  const std::map<std::string, std::string>& last_metadata() const { return metadata_; }
  // That each call has brought; not while one is under way.
  const std::vector<std::string>& tickets() const { return tickets_; }
  void FailAfterText() { fail_after_text_ = true; }
  void NeverEnd() { endless_ = true; }
  void SetWaiting(int requests) { waiting_ = requests; }
  int written() const { return written_; }

 private:
  const int refusals_;
  const std::string pushback_ms_;
  bool fail_after_text_ = false, endless_ = false;
  std::atomic<int> waiting_{3};
  std::atomic<int> written_{0};
  v1::ChatRequest last_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> tickets_;
  std::atomic<int> calls_{0}, listings_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

ChatOptions Question() {
  ChatOptions options;
  options.messages = {{"user", "hi"}};
  return options;
}

constexpr auto kIgnore = [](std::string_view, std::string_view) { return true; };

TEST(ClientTest, RetriesARefusalAfterTheServersTime) {
  ScriptedServer server(2, "150");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  const absl::Time start = absl::Now();
  auto result = client->Chat(Question(), kIgnore);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "hello");
  EXPECT_EQ(result->finish_reason, "stop");
  EXPECT_EQ(server.calls(), 3);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(290));
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST(ClientTest, BringsTheTicketOfTheLastRefusal) {
  ScriptedServer server(2, "1");
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.tickets(), (std::vector<std::string>{"", "first", ""})) << "the second refusal gave none";
}

TEST(ClientTest, WithoutTheServersTimeItBacksOff) {
  ScriptedServer server(3, "");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(2)}});
  EXPECT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.calls(), 4);
}

TEST(ClientTest, DoesNotWaitBeyondTheDeadline) {
  ScriptedServer server(1, "60000");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .deadline = absl::Seconds(30)});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, DoesNotRetryWhenTheServerSaysSo) {
  ScriptedServer server(1, "-1");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, DoesNotRetryAfterTheFirstText) {
  ScriptedServer server(0, "1");
  server.FailAfterText();
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  std::string seen;
  auto result = client->Chat(Question(), [&](std::string_view, std::string_view text) {
    seen += text;
    return true;
  });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(seen, "hello");
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, SendsWhatIsForTheTemplate) {
  ScriptedServer server(0, "");
  ChatOptions options = Question();
  options.chat_template_kwargs = R"({"mood": "glad"})";
  options.documents = {R"({"title": "A"})", "{}"};
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(options, kIgnore).ok());
  EXPECT_EQ(server.last_request().chat_template_kwargs(), options.chat_template_kwargs);
  ASSERT_EQ(server.last_request().documents_size(), 2);
  EXPECT_EQ(server.last_request().documents(0), options.documents[0]);
}

TEST(ClientTest, SendsItsCallersTraceContext) {
  ScriptedServer server(0, "");
  ChatOptions options = Question();
  options.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  options.tracestate = "vendor=1";
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(options, kIgnore).ok());
  EXPECT_EQ(server.last_metadata().at("traceparent"), options.traceparent);
  EXPECT_EQ(server.last_metadata().at("tracestate"), "vendor=1");
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.last_metadata().count("traceparent"), 0u);
}

TEST(ClientTest, OneAttemptMeansNoRetry) {
  ScriptedServer server(1, "1");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .retry = {.max_attempts = 1}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, OffersTheWholeService) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(2)}});
  EXPECT_TRUE(client->WarmUp(absl::Seconds(10)).ok());
  CompletionOptions completion;
  completion.prompt = "once";
  EXPECT_EQ(client->Complete(completion, kIgnore)->text, "once");
  completion.token_ids = {1, 2, 3};
  EXPECT_EQ(client->Complete(completion, kIgnore)->text, "3");
  EXPECT_EQ(client->Complete(completion, kIgnore)->completion_tokens, 1);
  EXPECT_EQ(*client->Tokenize("AB"), (std::vector<int32_t>{65, 66}));
  EXPECT_EQ(*client->Detokenize({72, 105}), "Hi");
  const auto models = client->ListModels();
  ASSERT_TRUE(models.ok()) << models.status() << ": a call without a stream is made again, too";
  ASSERT_EQ(models->size(), 1u);
  EXPECT_EQ((*models)[0].id, "m");
  EXPECT_EQ((*models)[0].max_model_len, 4096);
  const auto loads = client->GetLoad(absl::Seconds(10));
  ASSERT_TRUE(loads.ok()) << loads.status();
  ASSERT_EQ(loads->size(), 1u);
  EXPECT_EQ((*loads)[0].target, server.target());
  EXPECT_EQ((*loads)[0].requests_waiting, 3);
  EXPECT_EQ((*loads)[0].predicted_wait, absl::Milliseconds(250));
  EXPECT_TRUE((*loads)[0].ready);
}

TEST(ClientTest, AsksTheOtherServerAtOnce) {
  ScriptedServer full(100, "60000"), free(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {full.target(), free.target()}});
  const absl::Time start = absl::Now();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(free.calls(), 6);
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
}

TEST(ClientTest, AServerThatIsAwayCostsNoCall) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {"127.0.0.1:1", server.target()}});
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  const absl::Status warm = client->WarmUp(absl::Milliseconds(50));
  EXPECT_EQ(warm.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(warm.message().find("127.0.0.1:1"), absl::string_view::npos);
  EXPECT_EQ(warm.message().find(server.target()), absl::string_view::npos);
  EXPECT_EQ(client->GetLoad(absl::Seconds(10))->size(), 1u) << "of those that answer";
}

TEST(ClientTest, ABlockingCallCanBeStoppedWhileItWaitsForItsTurn) {
  ScriptedServer server(1, "3600000");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .deadline = absl::Hours(24)});
  int asked = 0;
  const auto result = client->Chat(Question(), [&](std::string_view, std::string_view text) {
    EXPECT_EQ(text, "");
    return ++asked < 3;
  });
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
  EXPECT_EQ(server.calls(), 1);
}

// Waits for the next piece.
std::optional<Piece> NextOf(Generation& generation) {
  std::promise<std::optional<Piece>> next;
  generation.Next([&](std::optional<Piece> piece) { next.set_value(std::move(piece)); });
  return next.get_future().get();
}

TEST(GenerationTest, GivesPieceByPieceThroughARefusalAndKeepsTheResult) {
  ScriptedServer server(2, "1");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  const std::unique_ptr<Generation> chat = client->StartChat(Question());
  EXPECT_EQ(chat->result().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(NextOf(*chat)->text, "hel");
  EXPECT_EQ(NextOf(*chat)->text, "lo");
  EXPECT_EQ(NextOf(*chat), std::nullopt);
  ASSERT_TRUE(chat->result().ok()) << chat->result().status();
  EXPECT_EQ(chat->result()->text, "hello");
  EXPECT_EQ(NextOf(*chat), std::nullopt) << "and so it stays";
}

TEST(GenerationTest, ReadsNothingAhead) {
  ScriptedServer server(0, "");
  server.NeverEnd();
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  const std::unique_ptr<Generation> chat = client->StartChat(Question());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(NextOf(*chat).has_value());
  // What the connection's window holds is written; then the server waits for its reader.
  int before = -1;
  while (before != server.written()) {
    before = server.written();
    absl::SleepFor(absl::Milliseconds(300));
  }
  EXPECT_LT(before, 1000000);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(NextOf(*chat).has_value());
  chat->Cancel();
  while (NextOf(*chat).has_value()) {
  }
  EXPECT_TRUE(absl::IsCancelled(chat->result().status())) << chat->result().status();
}

TEST(GenerationTest, WhoLetsGoOfItCancelsItAndOutlivesTheClient) {
  ScriptedServer server(0, "");
  server.NeverEnd();
  std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  std::unique_ptr<Generation> chat = client->StartChat(Question());
  client = nullptr;
  ASSERT_TRUE(NextOf(*chat).has_value());
  std::promise<void> ended;
  std::function<void(std::optional<Piece>)> then = [&](std::optional<Piece> piece) {
    if (piece.has_value()) return chat->Next(then);
    ended.set_value();
  };
  chat->Next(then);
  chat->Cancel();
  ended.get_future().get();
  chat = nullptr;
}

TEST(GenerationTest, CancelledBeforeItBeganOrWhileItWaits) {
  ScriptedServer server(1, "3600000");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .deadline = absl::Hours(24)});
  const std::unique_ptr<Generation> never = client->StartChat(Question());
  never->Cancel();
  EXPECT_EQ(NextOf(*never), std::nullopt);
  EXPECT_TRUE(absl::IsCancelled(never->result().status()));
  EXPECT_EQ(server.calls(), 0);

  const std::unique_ptr<Generation> refused = client->StartChat(Question());
  std::promise<void> ended;
  refused->Next([&](std::optional<Piece> piece) {
    EXPECT_EQ(piece, std::nullopt);
    ended.set_value();
  });
  while (server.calls() == 0) absl::SleepFor(absl::Milliseconds(1));
  refused->Cancel();
  ended.get_future().get();
  EXPECT_TRUE(absl::IsCancelled(refused->result().status()));
}

TEST(GenerationTest, AThousandAtOnceNeedNoThreadEach) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  constexpr int kCalls = 1000;
  std::atomic<int> left{kCalls}, whole{0};
  std::promise<void> all;
  std::vector<std::unique_ptr<Generation>> calls;
  for (int i = 0; i < kCalls; ++i) {
    CompletionOptions completion;
    completion.prompt = std::to_string(i);
    calls.push_back(client->StartCompletion(completion));
  }
  std::vector<std::function<void(std::optional<Piece>)>> thens(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    thens[i] = [&, i](std::optional<Piece> piece) {
      if (piece.has_value()) return calls[i]->Next(thens[i]);
      if (calls[i]->result().ok() && calls[i]->result()->text == std::to_string(i)) ++whole;
      if (--left == 0) all.set_value();
    };
    calls[i]->Next(thens[i]);
  }
  all.get_future().get();
  EXPECT_EQ(whole, kCalls);
}

// A coroutine that nobody waits for but through its own promise.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached Converse(Client& client, std::promise<std::string>* said) {
  const auto ids = co_await Tokenize(client, "AB");
  const auto text = co_await Detokenize(client, *ids);
  const auto models = co_await ListModels(client);
  std::string all = *text + (*models)[0].id;
  const std::unique_ptr<Generation> chat = client.StartChat(Question());
  while (true) {
    const std::optional<Piece> piece = co_await Next(*chat);
    if (!piece.has_value()) break;
    all += "|" + piece->text;
  }
  said->set_value(all + "|" + chat->result()->finish_reason);
}

TEST(CoroutineTest, AwaitsEveryCall) {
  ScriptedServer server(1, "1");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(2)}});
  std::promise<std::string> said;
  Converse(*client, &said);
  EXPECT_EQ(said.get_future().get(), "ABm|hel|lo|stop");
}

TEST(ClientTest, GoesToTheServerThatSaysThatItHasLess) {
  ScriptedServer first(0, ""), second(0, "");
  first.SetWaiting(100);
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {first.target(), second.target()}});
  ASSERT_TRUE(client->GetLoad(absl::Seconds(10)).ok());
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(first.calls(), 0);
  EXPECT_EQ(second.calls(), 12);

  // Calls ask again by themselves.
  first.SetWaiting(0);
  second.SetWaiting(100);
  const absl::Time start = absl::Now();
  while (first.calls() < 5 && absl::Now() - start < absl::Seconds(60)) {
    ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_GE(first.calls(), 5);
}

TEST(ClientTest, NobodyThere) {
  const std::unique_ptr<Client> client = *Client::Connect(
      {.targets = {"127.0.0.1:1"}, .retry = {.max_attempts = 2, .initial_backoff = absl::Milliseconds(2)}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client->GetLoad(absl::Seconds(10)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Client::Connect({.targets = {}}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::client
