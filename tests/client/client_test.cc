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
  std::atomic<int> calls_{0};
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
  auto client = Client::Connect({.target = server.target()});
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
  ASSERT_TRUE(Client::Connect({.target = server.target()})->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.tickets(), (std::vector<std::string>{"", "first", ""})) << "the second refusal gave none";
}

TEST(ClientTest, WithoutTheServersTimeItBacksOff) {
  ScriptedServer server(3, "");
  auto client = Client::Connect({.target = server.target(), .initial_backoff = absl::Milliseconds(2)});
  EXPECT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.calls(), 4);
}

TEST(ClientTest, DoesNotWaitBeyondTheDeadline) {
  ScriptedServer server(1, "60000");
  auto client = Client::Connect({.target = server.target(), .deadline = absl::Seconds(30)});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, DoesNotRetryWhenTheServerSaysSo) {
  ScriptedServer server(1, "-1");
  auto client = Client::Connect({.target = server.target()});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, DoesNotRetryAfterTheFirstText) {
  ScriptedServer server(0, "1");
  server.FailAfterText();
  auto client = Client::Connect({.target = server.target()});
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
  ASSERT_TRUE(Client::Connect({.target = server.target()})->Chat(options, kIgnore).ok());
  EXPECT_EQ(server.last_request().chat_template_kwargs(), options.chat_template_kwargs);
  ASSERT_EQ(server.last_request().documents_size(), 2);
  EXPECT_EQ(server.last_request().documents(0), options.documents[0]);
}

TEST(ClientTest, SendsItsCallersTraceContext) {
  ScriptedServer server(0, "");
  ChatOptions options = Question();
  options.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  options.tracestate = "vendor=1";
  ASSERT_TRUE(Client::Connect({.target = server.target()})->Chat(options, kIgnore).ok());
  EXPECT_EQ(server.last_metadata().at("traceparent"), options.traceparent);
  EXPECT_EQ(server.last_metadata().at("tracestate"), "vendor=1");
  ASSERT_TRUE(Client::Connect({.target = server.target()})->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.last_metadata().count("traceparent"), 0u);
}

TEST(ClientTest, OneAttemptMeansNoRetry) {
  ScriptedServer server(1, "1");
  auto client = Client::Connect({.target = server.target(), .max_attempts = 1});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

}  // namespace
}  // namespace hadal::client
