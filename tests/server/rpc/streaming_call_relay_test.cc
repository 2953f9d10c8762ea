// SPDX-License-Identifier: Apache-2.0
// Calls that another server answers, because this one is full or its model is loading.
#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/streaming_call.h"
#include "tests/server/rpc/grpc_fixture.h"
#include "tests/server/upstream/scripted_server.h"
#include "tests/server/upstream/upstream_fixture.h"
#include "tests/support/foreign_answer.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::ChatAnswer;
using ::hadal::testing::ChatEvent;
using ::hadal::testing::GrpcFixture;
using ::hadal::testing::kEventStreamHead;
using ::hadal::testing::ScriptedServer;
using ::hadal::testing::ServiceFixture;
using ::hadal::testing::UpstreamFixture;
using ::testing::HasSubstr;
using ::testing::Not;
using Connection = ScriptedServer::Connection;

// A server whose model is loading, and another one.
class Loading {
 public:
  explicit Loading(ScriptedServer::Script script, GrpcFixture::Options options = {}, bool ready = false)
      : other(std::move(script)),
        upstreams({other.url() + ",name=far,key-file=" + UpstreamFixture::KeyFile("sk-ours")}),
        grpc(ServiceFixture::Says("here"), With(std::move(options), ready, upstreams)) {}

  ScriptedServer other;
  UpstreamFixture upstreams;
  GrpcFixture grpc;

 private:
  static GrpcFixture::Options With(GrpcFixture::Options options, bool ready, UpstreamFixture& upstreams) {
    options.service.ready = ready;
    options.upstreams = upstreams.upstreams.get();
    return options;
  }
};

std::string Trailer(const GrpcFixture::Reply& reply, const std::string& name) {
  const auto at = reply.trailers.find(name);
  return at == reply.trailers.end() ? std::string() : at->second;
}

TEST(StreamingCallRelayTest, WhatWouldBeRefusedAnotherServerAnswers) {
  GrpcFixture::Options options;
  options.keys = "client-secret tenant\n";
  Loading loading(ScriptedServer::Says(ChatAnswer()), options);
  const GrpcFixture::Reply reply =
      loading.grpc.Chat(GrpcFixture::Hello(), {{"authorization", "Bearer client-secret"}, {"x-request-id", "r1"}});
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  std::string text, reasoning;
  for (const v1::GenerateResponse& message : reply.messages) {
    text += message.text();
    reasoning += message.reasoning();
  }
  EXPECT_EQ(text, "42");
  EXPECT_EQ(reasoning, "hm");
  EXPECT_EQ(reply.messages.front().request_id(), "r1");
  EXPECT_EQ(reply.messages.front().model(), "far-model");
  const v1::GenerateResponse& last = reply.messages.back();
  EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
  EXPECT_EQ(last.usage().prompt_tokens(), 7);
  EXPECT_EQ(last.usage().completion_tokens(), 5);
  EXPECT_EQ(last.usage().prompt_cache_hit_tokens(), 3);
  EXPECT_EQ(Trailer(reply, "x-hadal-served-by"), "far");
  EXPECT_EQ(Trailer(reply, "x-hadal-degraded"), "upstream");
  const std::string asked = loading.other.last_request();
  EXPECT_THAT(asked, HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-hadal-hop: 1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-request-id: r1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-hadal-deadline-ms: ")) << "the call's own deadline";
  EXPECT_THAT(asked, HasSubstr("\r\nAuthorization: Bearer sk-ours\r\n"));
  EXPECT_THAT(asked, Not(HasSubstr("client-secret")));
  EXPECT_THAT(asked, HasSubstr(R"("messages":[{"role":"user","content":"1 + 1"}])"));
  EXPECT_THAT(loading.grpc.base.metrics.Expose(), HasSubstr("hadal_degraded_total{rung=\"upstream\"} 1"));
}

TEST(StreamingCallRelayTest, OurRefusalStandsWhereItIsForbiddenOrFails) {
  Loading loading(
      ScriptedServer::Says("HTTP/1.1 500 x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"));
  for (const char* name : {"x-hadal-allow-fallback", "x-hadal-allow-degraded"}) {
    EXPECT_EQ(loading.grpc.Chat(GrpcFixture::Hello(), {{name, "0"}}).status.error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_EQ(loading.grpc.Chat(GrpcFixture::Hello(), {{"x-hadal-hop", "1"}}).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(loading.other.accepted(), 0);
  for (const char* name : {"x-hadal-allow-fallback", "x-hadal-allow-degraded"}) {
    EXPECT_EQ(loading.grpc.Chat(GrpcFixture::Hello(), {{name, "no"}}).status.error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << name;
  }
  v1::ChatRequest scored = GrpcFixture::Hello();
  scored.set_logprobs(1);
  const GrpcFixture::Reply unsupported = loading.grpc.Chat(scored);
  EXPECT_EQ(unsupported.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(loading.other.accepted(), 0);
  const GrpcFixture::Reply failed = loading.grpc.Chat(GrpcFixture::Hello());
  EXPECT_EQ(failed.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(failed.status.error_message(), HasSubstr("loading"));
  EXPECT_EQ(Trailer(failed, "x-hadal-served-by"), "");
  EXPECT_NE(Trailer(failed, "grpc-retry-pushback-ms"), "");
  EXPECT_EQ(loading.other.accepted(), 1);
}

TEST(StreamingCallRelayTest, ACallThatIsWrongIsToldSo) {
  Loading loading(ScriptedServer::Says(ChatAnswer()));
  v1::ChatRequest hot = GrpcFixture::Hello();
  hot.mutable_sampling()->set_temperature(9);
  EXPECT_EQ(loading.grpc.Chat(hot).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(loading.other.accepted(), 0);
}

TEST(StreamingCallRelayTest, AnAnswerThatBreaksOffEndsTheCallWithItsReason) {
  std::atomic<bool> go{false};
  Loading loading([&go](Connection& connection) {
    connection.ReadRequest();
    connection.Send(absl::StrCat(kEventStreamHead, ChatEvent(R"({"content":"4"})")));
    UpstreamFixture::WaitFor([&] { return go.load(); });
  });
  grpc::ClientContext context;
  auto reader = loading.grpc.stub->Chat(&context, GrpcFixture::Hello());
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.text(), "4");
  go = true;
  EXPECT_FALSE(reader->Read(&message));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_details(), HasSubstr("UPSTREAM_FAILED"));
}

TEST(StreamingCallRelayTest, AClientThatLeavesTakesTheTransferWithIt) {
  Loading loading([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(absl::StrCat(kEventStreamHead, ChatEvent(R"({"content":"4"})")));
    connection.WaitClosed();
  });
  grpc::ClientContext context;
  auto reader = loading.grpc.stub->Chat(&context, GrpcFixture::Hello());
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  context.TryCancel();
  EXPECT_TRUE(UpstreamFixture::WaitFor([&] { return loading.other.open() == 0; }));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(StreamingCallRelayTest, WhatLosesItsPlaceInTheQueueIsAnsweredToo) {
  GrpcFixture::Options options;
  options.service.max_queue_requests = 1;
  Loading full(ScriptedServer::Says(ChatAnswer()), options, /*ready=*/true);
  full.grpc.base.engine->Pause(true);
  GrpcFixture::Reply low;
  std::thread waiting([&] { low = full.grpc.Chat(GrpcFixture::Hello(), {{"x-hadal-priority", "low"}}); });
  ASSERT_TRUE(UpstreamFixture::WaitFor([&] { return full.grpc.base.admission->QueuedRequests(0) == 1; }));
  GrpcFixture::Reply high;
  std::thread urgent([&] { high = full.grpc.Chat(GrpcFixture::Hello(), {{"x-hadal-priority", "high"}}); });
  waiting.join();
  EXPECT_TRUE(low.status.ok()) << low.status.error_message();
  EXPECT_EQ(Trailer(low, "x-hadal-served-by"), "far");
  EXPECT_THAT(full.other.last_request(), HasSubstr("\r\nx-hadal-priority: low\r\n"));
  full.grpc.base.engine->Pause(false);
  urgent.join();
  EXPECT_TRUE(high.status.ok()) << high.status.error_message();
  EXPECT_EQ(Trailer(high, "x-hadal-served-by"), "");
  EXPECT_TRUE(full.grpc.base.WaitEmpty());
}

// Clients cancel at random moments: the worker that translates, the transfer and the end of the call meet in all ways.
TEST(StreamingCallRelayTest, ACancellationStormLeavesNothingBehind) {
  Loading loading(ScriptedServer::Says(ChatAnswer()));
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        auto reader = loading.grpc.stub->Chat(&context, GrpcFixture::Hello());
        std::thread canceller([&context, us = (i * 7919 + t * 104729) % 3000] {
          std::this_thread::sleep_for(std::chrono::microseconds(us));
          context.TryCancel();
        });
        v1::GenerateResponse message;
        while (reader->Read(&message)) continue;
        reader->Finish();
        canceller.join();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(UpstreamFixture::WaitFor([&] { return loading.grpc.server->calls_in_progress() == 0; }));
  EXPECT_TRUE(UpstreamFixture::WaitFor([&] { return loading.other.open() == 0; }));
  EXPECT_TRUE(loading.grpc.server->WaitPassedOn([] { return absl::Now() + absl::Seconds(30); }));
}

}  // namespace
}  // namespace hadal::rpc
