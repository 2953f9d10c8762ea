// SPDX-License-Identifier: Apache-2.0
#include "server/relay/relayed_call.h"

#include <limits>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/server/upstream/scripted_server.h"
#include "tests/server/upstream/upstream_fixture.h"
#include "tests/support/foreign_answer.h"
#include "tests/support/service_fixture.h"
#include "tests/support/wake_latch.h"

namespace hadal::relay {
namespace {

using hadal::testing::kEventStreamHead;
using hadal::testing::ScriptedServer;
using hadal::testing::ServiceFixture;
using hadal::testing::UpstreamFixture;
using hadal::testing::WakeLatch;
using request::Reason;
using service::CallUpdate;
using ::testing::HasSubstr;
using ::testing::Not;
using Connection = ScriptedServer::Connection;
using Progress = RelayedCall::Progress;

constexpr char kText[] = R"(data: {"model":"far-model","choices":[{"index":0,"text":"42"}]})"
                         "\n\n";
constexpr char kStop[] = R"(data: {"choices":[{"index":0,"text":"","finish_reason":"stop"}]})"
                         "\n\n";

service::DecodedRequest Prompt(std::string text) {
  service::GenerateCall call;
  call.prompt = std::move(text);
  service::DecodedRequest request;
  request.calls.emplace_back(std::move(call));
  return request;
}

// One relayed call, its upstream, and a reader that is woken as a front is.
class Asked {
 public:
  explicit Asked(ScriptedServer::Script script, absl::StatusOr<service::DecodedRequest> decoded = Prompt("17 + 25"),
                 service::Caller caller = {})
      : other(std::move(script)), upstreams({other.url() + ",name=far"}), base(ServiceFixture::Says("")) {
    upstream::PassedRequest request;
    request.fields = {{"x-request-id", "r1"}};
    call = RelayedCall::Begin({upstreams.upstreams.get(), base.service.get()}, std::move(request), std::move(caller),
                              {.bytes = 10, .decode = [decoded] { return decoded; }}, [this] { woken_.Wake(); });
  }
  ~Asked() { call->Cancel(); }

  // Reads to the end.
  Progress Read() {
    while (true) {
      CallUpdate next;
      const Progress progress = call->Read(&next);
      for (service::ChoiceDelta& delta : next.deltas) text += delta.text;
      if (next.done) usage = next.usage;
      if (progress != Progress::kWaiting && progress != Progress::kStreaming) return progress;
      if (!woken_.Wait()) return progress;
    }
  }
  Reason reason() const { return request::GetErrorDetail(call->status()).reason; }

  std::string text;
  service::Usage usage;

 private:
  WakeLatch woken_;

 public:
  ScriptedServer other;
  UpstreamFixture upstreams;
  ServiceFixture base;
  std::shared_ptr<RelayedCall> call;
};

TEST(RelayedCallTest, AnAnswerIsReadToItsEnd) {
  Asked asked(ScriptedServer::Says(absl::StrCat(
      kEventStreamHead, ": hello\n\n", kText, kStop,
      R"(data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}})", "\n\ndata: [DONE]\n\n")));
  EXPECT_EQ(asked.Read(), Progress::kComplete);
  EXPECT_EQ(asked.text, "42");
  EXPECT_EQ(asked.usage.completion_tokens, 2);
  EXPECT_EQ(asked.call->served_by(), "far");
  EXPECT_EQ(asked.call->model(), "far-model");
  const std::string request = asked.other.last_request();
  EXPECT_THAT(request, HasSubstr("POST /v1/completions HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nx-request-id: r1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nx-hadal-hop: 1\r\n"));
  EXPECT_THAT(request, HasSubstr(R"({"model":"demo","stream":true)")) << "a call without a model means the first one";
  EXPECT_THAT(request, Not(HasSubstr("x-hadal-priority")));
}

TEST(RelayedCallTest, TheClassThatAMessageAsksForIsPassedOnWithinItsKeysLimit) {
  service::DecodedRequest low = Prompt("x");
  low.priority = request::Priority::kLow;
  Asked asked(ScriptedServer::Says(absl::StrCat(kEventStreamHead, kText, kStop)), low);
  EXPECT_EQ(asked.Read(), Progress::kComplete);
  EXPECT_THAT(asked.other.last_request(), HasSubstr("\r\nx-hadal-priority: low\r\n"));
  service::DecodedRequest high = Prompt("x");
  high.priority = request::Priority::kHigh;
  Asked refused(ScriptedServer::Says(""), high, {.max_priority = request::Priority::kNormal});
  EXPECT_EQ(refused.Read(), Progress::kDeclined);
  EXPECT_EQ(refused.reason(), Reason::kPermissionDenied);
  EXPECT_TRUE(refused.call->invalid());
  EXPECT_EQ(refused.other.accepted(), 0);
}

TEST(RelayedCallTest, ALimitThatNoAnswerReachesIsNotPassedOn) {
  const auto sent = [](int32_t max_tokens, bool cap) {
    service::DecodedRequest prompt = Prompt("x");
    service::StopOptions& stopping = std::get<service::GenerateCall>(prompt.calls.front()).options.stopping;
    stopping = {.max_tokens = max_tokens, .cap_max_tokens = cap};
    Asked asked(ScriptedServer::Says(absl::StrCat(kEventStreamHead, kText, kStop)), prompt);
    EXPECT_EQ(asked.Read(), Progress::kComplete);
    return asked.other.last_request();
  };
  EXPECT_THAT(sent(511, true), HasSubstr(R"("max_tokens":511)")) << "the context has 512";
  EXPECT_THAT(sent(512, true), Not(HasSubstr("max_tokens")));
  EXPECT_THAT(sent(std::numeric_limits<int32_t>::max(), true), Not(HasSubstr("max_tokens")));
  EXPECT_THAT(sent(512, false), HasSubstr(R"("max_tokens":512)")) << "OpenAI's clients are told of their mistake";
}

TEST(RelayedCallTest, NothingIsGivenOutOfAnAnswerThatFailsAtOnce) {
  for (const std::string& bytes :
       {std::string("HTTP/1.1 500 x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
        std::string("HTTP/1.1 200 x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
        absl::StrCat(kEventStreamHead, "data: no JSON\n\n"),
        absl::StrCat(kEventStreamHead, kText, "data: {\"error\":{}}\n\n"),
        absl::StrCat(kEventStreamHead, ": nothing\n\n")}) {
    Asked asked(ScriptedServer::Says(bytes));
    EXPECT_EQ(asked.Read(), Progress::kDeclined) << bytes;
    EXPECT_EQ(asked.reason(), Reason::kUpstreamFailed) << bytes;
    EXPECT_FALSE(asked.call->invalid());
    EXPECT_EQ(asked.text, "");
  }
}

TEST(RelayedCallTest, AnAnswerWithoutItsEndIsBroken) {
  // The second piece only comes once the first one has been read.
  std::atomic<bool> read{false};
  Asked asked([&read](Connection& connection) {
    connection.ReadRequest();
    connection.Send(absl::StrCat(kEventStreamHead, kText));
    UpstreamFixture::WaitFor([&] { return read.load(); });
    connection.Send("data: [DONE]\n\n");
  });
  ASSERT_TRUE(UpstreamFixture::WaitFor([&] {
    CallUpdate update;
    asked.call->Read(&update);
    return !update.empty();
  }));
  read = true;
  EXPECT_EQ(asked.Read(), Progress::kBroken);
  EXPECT_EQ(asked.reason(), Reason::kUpstreamFailed);
}

TEST(RelayedCallTest, AWrongCallIsToldSoAndNotPassedOn) {
  Asked malformed(ScriptedServer::Says(""), request::MakeError(Reason::kInvalidRequest, "no message"));
  EXPECT_EQ(malformed.Read(), Progress::kDeclined);
  EXPECT_TRUE(malformed.call->invalid());
  EXPECT_EQ(malformed.reason(), Reason::kInvalidRequest);
  service::DecodedRequest hot = Prompt("x");
  std::get<service::GenerateCall>(hot.calls[0]).options.sampling.temperature = 9.0f;
  Asked out_of_range(ScriptedServer::Says(""), hot);
  EXPECT_EQ(out_of_range.Read(), Progress::kDeclined);
  EXPECT_EQ(out_of_range.reason(), Reason::kOutOfRange);
  EXPECT_EQ(malformed.other.accepted() + out_of_range.other.accepted(), 0);
}

TEST(RelayedCallTest, WhatCannotBeAnsweredThatWayIsDeclined) {
  service::DecodedRequest scored = Prompt("x");
  std::get<service::GenerateCall>(scored.calls[0]).options.top_logprobs = 2;
  Asked asked(ScriptedServer::Says(""), scored);
  EXPECT_EQ(asked.Read(), Progress::kDeclined);
  EXPECT_FALSE(asked.call->invalid()) << "the client gets this server's refusal";
  EXPECT_EQ(asked.other.accepted(), 0);
}

TEST(RelayedCallTest, CancellingEndsTheTransfer) {
  Asked asked([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(absl::StrCat(kEventStreamHead, kText));
    connection.WaitClosed();
  });
  ASSERT_TRUE(UpstreamFixture::WaitFor([&] { return asked.other.accepted() == 1; }));
  asked.call->Cancel();
  EXPECT_TRUE(UpstreamFixture::WaitFor([&] { return asked.other.open() == 0; }));
  EXPECT_EQ(asked.Read(), Progress::kBroken);
  EXPECT_EQ(asked.reason(), Reason::kCancelled);
}

}  // namespace
}  // namespace hadal::relay
