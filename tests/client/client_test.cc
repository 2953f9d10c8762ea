// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/time/clock.h"
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
    response->set_requests_waiting(3);
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

 private:
  const int refusals_;
  const std::string pushback_ms_;
  bool fail_after_text_ = false;
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

TEST(ClientTest, NobodyThere) {
  const std::unique_ptr<Client> client = *Client::Connect(
      {.targets = {"127.0.0.1:1"}, .retry = {.max_attempts = 2, .initial_backoff = absl::Milliseconds(2)}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client->GetLoad(absl::Seconds(10)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Client::Connect({.targets = {}}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::client
