// SPDX-License-Identifier: Apache-2.0
// Calls whose client sends no message, and how each ends.
#include "server/rpc/server_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/rpc/grpc_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::GrpcFixture;
using ::hadal::testing::MetricValue;
using ::hadal::testing::Script;
using ::hadal::testing::ServiceFixture;
using ::testing::HasSubstr;

constexpr char kChat[] = "/hadal.v1.Inference/Chat";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";

// The real clock, which can be put forward.
class ShiftedClock final : public base::Clock {
 public:
  absl::Time Now() const override { return Real()->Now() + absl::Milliseconds(shift_ms.load()); }
  bool WaitUntil(base::CondVar* condition, base::Mutex* mutex, absl::Time deadline) const override {
    return Real()->WaitUntil(condition, mutex, deadline - absl::Milliseconds(shift_ms.load()));
  }

  std::atomic<int> shift_ms{0};
};

Script Hold(const request::Request&) {
  Script script;
  script.hold = true;
  return script;
}

// A client's call that has sent its headers and nothing else.
class SilentCall {
 public:
  SilentCall(GrpcFixture& fixture, const std::string& method, const std::string& key = "") : stub_(fixture.channel) {
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    stream_ = stub_.PrepareCall(&context, method, &queue_);
    stream_->StartCall(this);
    Next();
  }
  ~SilentCall() {
    context.TryCancel();
    if (!finished_) Finish();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) continue;
  }

  void HalfClose() {
    stream_->WritesDone(this);
    Next();
  }
  // Waits for the server's end of the call.
  grpc::Status Finish() {
    finished_ = true;
    grpc::Status status;
    stream_->Finish(&status, this);
    Next();
    return status;
  }

  grpc::ClientContext context;

 private:
  void Next() {
    void* tag = nullptr;
    bool ok = false;
    const auto limit = std::chrono::system_clock::now() + std::chrono::seconds(20);
    EXPECT_EQ(queue_.AsyncNext(&tag, &ok, limit), grpc::CompletionQueue::GOT_EVENT);
  }

  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  bool finished_ = false;
};

double Finished(GrpcFixture& fixture, std::string_view route, int code, std::string_view outcome,
                std::string_view reason) {
  const std::string series = "hadal_requests_total{route=\"" + std::string(route) +
                             "\",class=\"normal\",http_code=\"\",grpc_code=\"" + std::to_string(code) +
                             "\",outcome=\"" + std::string(outcome) + "\",reason=\"" + std::string(reason) + "\"}";
  return MetricValue(fixture.base.metrics, series);
}

// Until a call has been recorded with that reason.
bool WaitReason(GrpcFixture& fixture, std::string_view reason) {
  for (int i = 0; i < 60'000; ++i) {
    if (fixture.base.metrics.Expose().find(reason) != std::string::npos) return true;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return false;
}

bool WaitPending(GrpcFixture& fixture, double calls) {
  for (int i = 0; i < 60'000; ++i) {
    if (MetricValue(fixture.base.metrics, "hadal_grpc_pending_calls") == calls) return true;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return false;
}

bool WaitNoCall(GrpcFixture& fixture) {
  for (int i = 0; i < 60'000 && fixture.server->calls_in_progress() > 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  return fixture.server->calls_in_progress() == 0;
}

TEST(ServerCallTest, TheKeyIsCheckedBeforeAMessageIsThere) {
  GrpcFixture fixture(ServiceFixture::Says("x"), {.keys = "k tenant\n"});
  EXPECT_EQ(SilentCall(fixture, kChat).Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(SilentCall(fixture, "/hadal.v1.Inference/Tokenize", "wrong").Finish().error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  SilentCall known(fixture, kChat, "k");
  EXPECT_TRUE(WaitPending(fixture, 1));
  EXPECT_EQ(fixture.base.admission->GetLoad().waiting, 0) << "no queue slot without a message";
}

TEST(ServerCallTest, UnknownMethodsAreRefusedAtOnce) {
  GrpcFixture fixture(ServiceFixture::Says("x"), {.keys = "k tenant\n"});
  EXPECT_EQ(SilentCall(fixture, "/no.such.Service/Method").Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(SilentCall(fixture, "/hadal.v1.Inference/Sing").Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Finished(fixture, "unknown", 12, "error", "UNSUPPORTED"), 2);
}

TEST(ServerCallTest, AMessageThatDoesNotComeEndsTheCall) {
  rpc::GrpcOptions options;
  options.message_timeout = absl::Seconds(1);  // in which the message of the second call is here
  GrpcFixture fixture(ServiceFixture::Says("x"), {.server = options});
  const grpc::Status status = SilentCall(fixture, kChat).Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("within 1s"));
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_grpc_refusals_total{limit=\"message_timeout\"}"), 1);
  EXPECT_EQ(Finished(fixture, "Chat", 4, "invalid", "REQUEST_TIMEOUT"), 1);
  EXPECT_TRUE(WaitPending(fixture, 0));
  EXPECT_TRUE(WaitNoCall(fixture));
  EXPECT_TRUE(fixture.Chat(GrpcFixture::Hello()).status.ok());
}

TEST(ServerCallTest, CallsThatWaitForTheirMessageHaveALimit) {
  rpc::GrpcOptions options;
  options.max_pending_calls = 2;
  GrpcFixture fixture(ServiceFixture::Says("x"), {.server = options});
  auto a = std::make_unique<SilentCall>(fixture, kChat);
  SilentCall b(fixture, kChat), watch(fixture, kWatch);  // health has slots of its own
  ASSERT_TRUE(WaitPending(fixture, 2));
  const GrpcFixture::Reply refused = fixture.Chat(GrpcFixture::Hello());
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("2/2 calls wait"));
  EXPECT_EQ(refused.trailers.count("grpc-retry-pushback-ms"), 1u);
  a.reset();
  ASSERT_TRUE(WaitPending(fixture, 1));
  EXPECT_TRUE(fixture.Chat(GrpcFixture::Hello()).status.ok());
}

TEST(ServerCallTest, EachEndBeforeTheMessageHasItsOwnReason) {
  GrpcFixture fixture(ServiceFixture::Says("x"));
  {
    SilentCall reset(fixture, kChat);
    ASSERT_TRUE(WaitPending(fixture, 1));
    reset.context.TryCancel();
    EXPECT_EQ(reset.Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  ASSERT_TRUE(WaitNoCall(fixture));
  EXPECT_EQ(Finished(fixture, "Chat", 1, "cancelled", "CANCELLED"), 1);
  SilentCall half_closed(fixture, kChat);
  half_closed.HalfClose();
  EXPECT_EQ(half_closed.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Finished(fixture, "Chat", 3, "invalid", "INVALID_REQUEST"), 1);
}

TEST(ServerCallTest, ACompressedMessageIsInvalidAndNoCancellation) {
  GrpcFixture fixture(ServiceFixture::Says("x"));
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::ChatRequest request = GrpcFixture::Hello();
  request.mutable_messages(0)->set_content(std::string(10000, 'x'));
  const auto reader = fixture.stub->Chat(&context, request);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  // The library ends such a call by itself; the server may learn of the call, and of its end, after the client.
  ASSERT_TRUE(WaitReason(fixture, "UNSUPPORTED_MEDIA_TYPE"));
  EXPECT_EQ(Finished(fixture, "Chat", 12, "invalid", "UNSUPPORTED_MEDIA_TYPE"), 1);
}

TEST(ServerCallTest, ADeadlineIsNoCancellation) {
  ShiftedClock clock;
  GrpcFixture fixture(Hold, {.service = {.clock = &clock}});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  auto reader = fixture.stub->Chat(&context, GrpcFixture::Hello());
  while (fixture.base.engine->running() == 0) absl::SleepFor(absl::Milliseconds(1));
  clock.shift_ms = 1000;  // on its way the call may have lost more time than is allowed for
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(fixture.base.WaitEmpty());
  ASSERT_TRUE(WaitNoCall(fixture));
  EXPECT_EQ(Finished(fixture, "Chat", 4, "error", "DEADLINE_EXPIRED"), 1);
}

// What is announced as 20 s can be 19.9 s for the client.
TEST(ServerCallTest, AResetAtTheDeadlineAsTheClientRoundedItIsNoCancellation) {
  for (const bool at_its_end : {true, false}) {
    ShiftedClock clock;
    GrpcFixture fixture(Hold, {.service = {.clock = &clock}});
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    auto reader = fixture.stub->Chat(&context, GrpcFixture::Hello());
    while (fixture.base.engine->running() == 0) absl::SleepFor(absl::Milliseconds(1));
    clock.shift_ms = at_its_end ? 19'850 : 5'000;
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
    ASSERT_TRUE(WaitNoCall(fixture));
    EXPECT_EQ(at_its_end ? Finished(fixture, "Chat", 4, "error", "DEADLINE_EXPIRED")
                         : Finished(fixture, "Chat", 1, "cancelled", "CANCELLED"),
              1);
  }
}

TEST(ServerCallTest, MessagesAreLeasedFromTheBodyBudgetUntilTheyAreParsed) {
  ServiceFixture::Options service;
  service.bodies.max_bytes = 100000;
  service.bodies.small_body_bytes = 1000;
  GrpcFixture fixture(ServiceFixture::Says("x"), {.service = service});
  v1::ChatRequest large = GrpcFixture::Hello();
  large.mutable_messages(0)->set_content(std::string(60000, 'x'));  // one sender may take half
  const GrpcFixture::Reply refused = fixture.Chat(large);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Finished(fixture, "Chat", 14, "shed", "BODY_BUDGET_FULL"), 1);
  v1::TokenizeRequest tokenize;
  v1::TokenizeResponse response;
  tokenize.set_text(std::string(60000, 'x'));
  grpc::ClientContext context;
  EXPECT_EQ(fixture.stub->Tokenize(&context, tokenize, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(fixture.Chat(GrpcFixture::Hello()).status.ok());
  EXPECT_EQ(fixture.base.service->bodies().bytes(), 0);
}

TEST(ServerCallTest, AMessageAboveTheLimitIsRefusedByName) {
  rpc::GrpcOptions options;
  options.front.max_body_bytes = 1000;
  GrpcFixture fixture(ServiceFixture::Says("x"), {.server = options});
  v1::ChatRequest large = GrpcFixture::Hello();
  large.mutable_messages(0)->set_content(std::string(2000, 'x'));
  const GrpcFixture::Reply refused = fixture.Chat(large);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("; the limit is 1000"));
  EXPECT_EQ(refused.trailers.find("grpc-retry-pushback-ms")->second, "-1");
  EXPECT_EQ(Finished(fixture, "Chat", 8, "invalid", "BODY_TOO_LARGE"), 1);
  EXPECT_TRUE(fixture.Chat(GrpcFixture::Hello()).status.ok());
}

TEST(ServerCallTest, AFullQueueRefusesBeforeTheMessageIsThere) {
  ServiceFixture::Options service;
  service.max_queue_requests = 1;
  GrpcFixture fixture(Hold, {.service = service});
  fixture.base.engine->Pause(true);
  grpc::ClientContext context;
  auto waiting = fixture.stub->Chat(&context, GrpcFixture::Hello());
  while (fixture.base.admission->GetLoad().waiting == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(SilentCall(fixture, kChat).Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  context.TryCancel();
  waiting->Finish();
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(ServerCallTest, ShutdownDoesNotWaitForSilentCalls) {
  GrpcFixture fixture(ServiceFixture::Says("x"));
  std::vector<std::unique_ptr<SilentCall>> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(std::make_unique<SilentCall>(fixture, i % 2 ? kChat : kWatch));
  ASSERT_TRUE(WaitPending(fixture, 10));
  const absl::Time begin = absl::Now();
  fixture.server->Shutdown(absl::Seconds(20));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(15)) << "the time that calls in progress have is 20 s";
  for (size_t i = 1; i < calls.size(); i += 2) {  // the others have a response that nobody reads
    EXPECT_EQ(calls[i]->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

TEST(ServerCallTest, CallsBeyondAConnectionsLimitWaitAtTheClient) {
  rpc::GrpcOptions options;
  options.max_streams = 4;
  GrpcFixture fixture(ServiceFixture::Says("x"), {.server = options});
  // This client keeps to the setting: its fifth call waits on its side.
  std::vector<std::unique_ptr<SilentCall>> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(std::make_unique<SilentCall>(fixture, kChat));
  ASSERT_TRUE(WaitPending(fixture, 4));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  auto reader = fixture.stub->Chat(&context, GrpcFixture::Hello());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(fixture.server->calls_in_progress(), 4);
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_grpc_refusals_total{limit=\"streams\"}"), 0);
}

}  // namespace
}  // namespace hadal::rpc
