// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/grpc_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/sync.h"
#include "tests/server/rpc/grpc_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::GrpcFixture;
using ::hadal::testing::MetricValue;
using ::hadal::testing::Script;
using ::hadal::testing::ServiceFixture;

ServiceFixture::Options Queue(int64_t slots) {
  ServiceFixture::Options options;
  options.max_queue_requests = slots;
  return options;
}

Script Endless(const request::Request&) {
  Script script;
  script.tokens = {10, 11, 12};
  script.endless = true;
  script.token_delay = std::chrono::microseconds(200);
  return script;
}

Script Hold(const request::Request&) {
  Script script;
  script.hold = true;
  return script;
}

// The series of one finished request in class normal.
std::string Finished(std::string_view route, std::string_view code, std::string_view outcome, std::string_view reason) {
  std::string series = "hadal_requests_total{route=\"";
  series.append(route).append("\",class=\"normal\",http_code=\"\",grpc_code=\"").append(code);
  series.append("\",outcome=\"").append(outcome).append("\",reason=\"").append(reason).append("\"}");
  return series;
}

TEST(GrpcServerTest, StreamsTheAnswerAndItsUsage) {
  GrpcFixture fixture(ServiceFixture::Says("hello there"));
  const GrpcFixture::Reply reply = fixture.Chat(GrpcFixture::Hello());
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  std::string text;
  for (const auto& message : reply.messages) text += message.reasoning() + message.text();
  EXPECT_EQ(text, "hello there");
  EXPECT_TRUE(reply.messages.back().has_usage());
  EXPECT_EQ(reply.messages.front().model(), "demo");
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(GrpcServerTest, AFullQueueRefusesBeforeTheMessageIsParsed) {
  GrpcFixture fixture(Hold, {.service = Queue(1)});
  fixture.base.engine->Pause(true);
  grpc::ClientContext context;
  auto waiting = fixture.stub->Chat(&context, GrpcFixture::Hello());
  while (fixture.base.admission->GetLoad().waiting == 0) std::this_thread::yield();
  // Even garbage is refused for the queue, not for its content.
  v1::ChatRequest nonsense;
  nonsense.set_n(-5);
  const GrpcFixture::Reply reply = fixture.Chat(nonsense);
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(reply.status.error_message(), ::testing::HasSubstr("服务器繁忙"));
  ASSERT_EQ(reply.trailers.count("grpc-retry-pushback-ms"), 1u);
  EXPECT_GE(std::stoi(reply.trailers.find("grpc-retry-pushback-ms")->second), 1000);
  context.TryCancel();
  waiting->Finish();
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

// gRPC's library counts its own retries. While nothing is foreseen a first attempt is told two seconds, and each later
// one half as much again; at most a tenth more is jitter.
TEST(GrpcServerTest, EarlierAttemptsThatGrpcCountsMakeTheHintLonger) {
  GrpcFixture fixture(Hold, {.service = Queue(1)});
  // A library that retries takes the count out of what the caller gives.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  fixture.stub = v1::Inference::NewStub(grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(fixture.server->port()),
                                                                  grpc::InsecureChannelCredentials(), arguments));
  fixture.base.engine->Pause(true);
  grpc::ClientContext context;
  auto waiting = fixture.stub->Chat(&context, GrpcFixture::Hello());
  while (fixture.base.admission->GetLoad().waiting == 0) std::this_thread::yield();
  using Metadata = std::vector<std::pair<std::string, std::string>>;
  const auto pushback = [&](const Metadata& metadata) {
    const GrpcFixture::Reply reply = fixture.Chat(GrpcFixture::Hello(), metadata);
    const auto found = reply.trailers.find("grpc-retry-pushback-ms");
    return found == reply.trailers.end() ? 0 : std::stoi(found->second);
  };
  const auto between = [](int least, int most) { return ::testing::AllOf(::testing::Ge(least), ::testing::Le(most)); };
  EXPECT_THAT(pushback({}), between(2000, 2200));
  EXPECT_THAT(pushback({{"grpc-previous-rpc-attempts", "1"}}), between(3000, 3300));
  EXPECT_THAT(pushback({{"grpc-previous-rpc-attempts", "2"}}), between(4500, 4950));
  EXPECT_THAT(pushback({{"x-stainless-retry-count", "2"}}), between(4500, 4950)) << "our client counts by itself";
  EXPECT_THAT(pushback({{"grpc-previous-rpc-attempts", "1"}, {"x-stainless-retry-count", "2"}}), between(3000, 3300))
      << "the library's count is the one of this call";
  context.TryCancel();
  waiting->Finish();
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(GrpcServerTest, CancelGivesEverythingBackInEveryState) {
  for (const bool paused : {true, false}) {
    GrpcFixture fixture(Endless);
    fixture.base.engine->Pause(paused);
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> readers;
    for (int i = 0; i < 8; ++i) {
      contexts.push_back(std::make_unique<grpc::ClientContext>());
      readers.push_back(fixture.stub->Chat(contexts.back().get(), GrpcFixture::Hello()));
    }
    v1::GenerateResponse message;
    if (!paused) readers.front()->Read(&message);
    for (auto& context : contexts) context->TryCancel();
    for (auto& reader : readers) EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_TRUE(fixture.base.WaitEmpty());
    for (int i = 0; i < 60'000 && fixture.server->calls_in_progress() > 0; ++i) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(fixture.server->calls_in_progress(), 0);
  }
}

TEST(GrpcServerTest, AClientThatDoesNotReadIsDroppedAndOthersAreServed) {
  ServiceFixture::Options service;
  service.max_model_len = 1 << 20;
  service.stream_capacity_tokens = 64;
  GrpcFixture fixture(
      [](const request::Request& request) {
        Script script = Endless(request);
        script.token_delay = {};
        return script;
      },
      {.service = service, .stream = {.slow_reader_timeout = absl::Seconds(2)}});
  v1::ChatRequest endless = GrpcFixture::Hello();
  endless.mutable_stopping()->set_max_tokens(1 << 19);
  endless.set_logprobs(20);  // large messages fill the flow-control window soon
  grpc::ClientContext context;
  auto stalled = fixture.stub->Chat(&context, endless);
  stalled->WaitForInitialMetadata();  // it is there; none of its messages is read
  const GrpcFixture::Reply other = fixture.Chat(GrpcFixture::Hello());
  EXPECT_TRUE(other.status.ok()) << other.status.error_message();
  EXPECT_TRUE(fixture.base.WaitEmpty());  // dropped though nobody cancelled
  context.TryCancel();                    // the client would wait for somebody to read what has arrived
  stalled->Finish();
  for (int i = 0; i < 60'000 && fixture.server->calls_in_progress() > 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_slow_readers_total"), 1);
  EXPECT_EQ(MetricValue(fixture.base.metrics, Finished("Chat", "1", "cancelled", "SLOW_READER")), 1);
}

// The load report is seen in tests/e2e/test_fleet.py: this client's library keeps it from its application.
TEST(GrpcServerTest, TrailersGiveTheSessionBack) {
  GrpcFixture fixture(ServiceFixture::Says("</think>x"));
  const auto trailers = fixture.Chat(GrpcFixture::Hello(), {{"x-session-id", "s-1"}, {"session-id", "a b"}}).trailers;
  ASSERT_EQ(trailers.count("x-session-id"), 1u);
  EXPECT_EQ(trailers.find("x-session-id")->second, "s-1");
  EXPECT_EQ(trailers.count("session-id"), 0u);
}

TEST(GrpcServerTest, KeysAreCheckedBeforeAPlaceIsTaken) {
  GrpcFixture fixture(ServiceFixture::Says("x"), {.keys = "k tenant low\n"});
  EXPECT_EQ(fixture.Chat(GrpcFixture::Hello()).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(fixture.Chat(GrpcFixture::Hello(), {{"authorization", "Bearer k"}, {"x-hadal-priority", "high"}})
                .status.error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(fixture.Chat(GrpcFixture::Hello(), {{"authorization", "Bearer k"}}).status.ok());
  EXPECT_EQ(fixture.base.admission->GetLoad().waiting, 0);
}

TEST(GrpcServerTest, EveryCallIsRecordedOnce) {
  GrpcFixture fixture(ServiceFixture::Says("x"));
  EXPECT_TRUE(fixture.Chat(GrpcFixture::Hello()).status.ok());
  v1::ChatRequest nonsense;
  nonsense.set_n(-5);
  EXPECT_FALSE(fixture.Chat(nonsense).status.ok());
  {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    v1::TokenizeResponse response;
    request.set_text("1 + 1");
    EXPECT_TRUE(fixture.stub->Tokenize(&context, request, &response).ok());
  }
  {
    grpc::ClientContext context;
    v1::DetokenizeRequest request;
    v1::DetokenizeResponse response;
    request.add_token_ids(-1);
    EXPECT_FALSE(fixture.stub->Detokenize(&context, request, &response).ok());
  }
  {
    grpc::ClientContext context;
    v1::EndThinkingRequest request;
    v1::EndThinkingResponse response;
    request.set_request_id("nobody");
    EXPECT_EQ(fixture.stub->EndThinking(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  }
  {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    EXPECT_TRUE(fixture.stub->ListModels(&context, {}, &response).ok());
  }
  {
    grpc::ClientContext context;
    context.AddMetadata("x-hadal-priority", "urgent");
    v1::GetLoadResponse response;
    EXPECT_FALSE(fixture.stub->GetLoad(&context, {}, &response).ok());
  }
  for (const std::string& series :
       {Finished("Chat", "0", "ok", ""), Finished("Chat", "3", "invalid", "OUT_OF_RANGE"),
        Finished("Tokenize", "0", "ok", ""), Finished("Detokenize", "3", "invalid", "INVALID_REQUEST"),
        Finished("ListModels", "0", "ok", ""), Finished("GetLoad", "3", "invalid", "OUT_OF_RANGE")}) {
    EXPECT_EQ(MetricValue(fixture.base.metrics, series), 1) << series;
  }
}

TEST(GrpcServerTest, ShutdownEndsRunningCalls) {
  GrpcFixture fixture(Hold);
  grpc::ClientContext context;
  auto reader = fixture.stub->Chat(&context, GrpcFixture::Hello());
  while (fixture.base.engine->running() == 0) std::this_thread::yield();
  fixture.server->Shutdown(absl::Milliseconds(50));
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

// CANCELLED would be the caller's own doing: nobody retries it.
TEST(GrpcServerTest, CallsThatArriveWhileItEndsAreUnavailable) {
  std::map<grpc::StatusCode, int> codes;
  for (int round = 0; round < 20; ++round) {
    GrpcFixture fixture(ServiceFixture::Says("x"));
    grpc::ChannelArguments own_connection;
    own_connection.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    own_connection.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    std::atomic<int> answered{0};
    base::Mutex mutex;
    std::vector<std::thread> clients;
    for (int i = 0; i < 6; ++i) {
      clients.emplace_back([&] {
        const auto stub = v1::Inference::NewStub(grpc::CreateCustomChannel(
            "127.0.0.1:" + std::to_string(fixture.server->port()), grpc::InsecureChannelCredentials(), own_connection));
        for (grpc::Status status; status.ok();) {
          grpc::ClientContext context;
          context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
          v1::ListModelsResponse response;
          status = stub->ListModels(&context, {}, &response);
          answered += status.ok();
          base::MutexLock lock(&mutex);
          ++codes[status.error_code()];
        }
      });
    }
    while (answered < 60) std::this_thread::yield();
    fixture.server->Shutdown(absl::Seconds(30));
    for (std::thread& client : clients) client.join();
  }
  EXPECT_EQ(codes.size(), 2) << codes[grpc::StatusCode::CANCELLED] << " cancelled";
  EXPECT_EQ(codes[grpc::StatusCode::UNAVAILABLE], 20 * 6);
}

}  // namespace
}  // namespace hadal::rpc
