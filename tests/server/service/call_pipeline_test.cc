// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_pipeline.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/pipeline_front.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::Decodes;
using hadal::testing::DemoEncode;
using hadal::testing::Gate;
using hadal::testing::Hold;
using hadal::testing::Info;
using hadal::testing::OneWorker;
using hadal::testing::PipelineFront;
using hadal::testing::Prompts;
using hadal::testing::Recorded;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using request::MakeError;
using request::Priority;
using request::Reason;
using Progress = CallPipeline::Progress;

TEST(CallPipelineTest, RunsACallToItsEndAndRecordsItOnce) {
  ServiceFixture fixture(ServiceFixture::Says("hello"));
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Decodes({"a"}));
  ASSERT_OK(front.ReadToEnd());
  EXPECT_EQ(front.texts, std::vector<std::string>{"hello"});
  EXPECT_EQ(front.pipeline->calls().size(), 1u);
  EXPECT_GT(front.pipeline->usage().completion_tokens, 0);
  EXPECT_EQ(Recorded(fixture), 0) << "the client has not been told yet";
  front.pipeline->Finish(absl::OkStatus(), 0);
  front.pipeline->Finish(MakeError(Reason::kCancelled, "again"), 1);
  EXPECT_EQ(Recorded(fixture, R"(http_code="",grpc_code="0",outcome="ok",reason="")"), 1);
  EXPECT_EQ(Recorded(fixture), 1);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CallPipelineTest, ARefusedAdmissionTakesNothing) {
  ServiceFixture::Options options;
  options.max_queue_requests = 1;
  ServiceFixture fixture(Hold, options);
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture);
  waiting.AdmitAndSubmit(Decodes({"a"}));
  PipelineFront front(fixture, Info(Protocol::kHttp));
  const absl::Status refused = front.pipeline->Admit(100);
  EXPECT_REASON(refused, Reason::kConnectionQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(refused).retry_after.has_value());
  front.pipeline->Finish(refused, 503);
  EXPECT_EQ(Recorded(fixture, R"(http_code="503",grpc_code="",outcome="shed",reason="CONNECTION_QUEUE_FULL")"), 1);
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 1);
}

CallInfo WithQuota(QuotaLimits limits) {
  CallInfo info = Info();
  info.caller.quota = std::make_shared<KeyQuota>(limits);
  return info;
}

TEST(CallPipelineTest, AKeyHasItsRequestsInFlight) {
  ServiceFixture fixture(ServiceFixture::Says("hello"));
  const CallInfo info = WithQuota({.requests = 1});
  PipelineFront first(fixture, info), second(fixture, info);
  first.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_REASON(second.pipeline->CheckRoom(0), Reason::kTenantQuota);
  EXPECT_REASON(second.pipeline->Admit(100), Reason::kTenantQuota);
  EXPECT_LE(fixture.admission->GetLoad().waiting, 1) << "refused before the queue";
  ASSERT_OK(first.ReadToEnd());
  first.pipeline->Finish(absl::OkStatus(), 0);
  EXPECT_OK(second.pipeline->Admit(100));
}

TEST(CallPipelineTest, AServerThatServesNobodySaysSoBeforeItCountsAQuota) {
  ServiceFixture fixture(ServiceFixture::Says("hello"));
  fixture.engine->Pause(true);
  const CallInfo info = WithQuota({.requests = 1});
  PipelineFront first(fixture, info), second(fixture, info);
  first.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_REASON(second.pipeline->CheckRoom(0), Reason::kTenantQuota);
  fixture.admission->BeginDrain();
  EXPECT_REASON(second.pipeline->CheckRoom(0), Reason::kDraining) << "another replica has room for this key";
  EXPECT_REASON(second.pipeline->Admit(100), Reason::kDraining);
}

TEST(CallPipelineTest, AKeyPaysForPromptAndOutput) {
  ServiceFixture fixture(ServiceFixture::Says("hello"));
  const CallInfo info = WithQuota({.tokens_per_minute = 60, .burst_tokens = 3});
  PipelineFront front(fixture, info);
  ASSERT_OK(front.pipeline->Admit(4));
  front.pipeline->Submit(Decodes({"a"}));
  EXPECT_OK(info.caller.quota->Check(info.arrival)) << "one token is charged so far";
  ASSERT_OK(front.ReadToEnd());
  front.pipeline->Finish(absl::OkStatus(), 0);
  EXPECT_REASON(info.caller.quota->Check(info.arrival), Reason::kTenantQuota);
}

TEST(CallPipelineTest, AFullQueueCostsAKeyNothing) {
  ServiceFixture::Options options;
  options.max_queue_requests = 1;
  ServiceFixture fixture(Hold, options);
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture);
  waiting.AdmitAndSubmit(Decodes({"a"}));
  const CallInfo info = WithQuota({.requests = 1, .tokens_per_minute = 20});
  PipelineFront front(fixture, info);
  EXPECT_REASON(front.pipeline->Admit(100), Reason::kConnectionQueueFull);
  EXPECT_OK(info.caller.quota->Check(info.arrival));
}

TEST(CallPipelineTest, ADecodeErrorIsTheEndAndTheDecoderIsGoneByThen) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  PipelineFront front(fixture);
  auto owned = std::make_shared<int>(0);
  std::weak_ptr<int> watch = owned;
  front.AdmitAndSubmit([owned = std::move(owned)]() -> absl::StatusOr<DecodedRequest> {
    return MakeError(Reason::kInvalidRequest, "no such field");
  });
  EXPECT_REASON(front.ReadToEnd(), Reason::kInvalidRequest);
  EXPECT_TRUE(watch.expired());
  EXPECT_TRUE(fixture.Empty());
  EXPECT_TRUE(front.pipeline->calls().empty());
}

TEST(CallPipelineTest, AFullWorkerQueueRefuses) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"), OneWorker(1));
  ASSERT_TRUE(fixture.service->workers().TryPost([&] { gate.Wait(); }));
  gate.AwaitVisitor();
  ASSERT_TRUE(fixture.service->workers().TryPost([] {}));
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Decodes({"a"}));
  const absl::Status status = front.ReadToEnd();
  EXPECT_REASON(status, Reason::kWorkerQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(status).retry_after.has_value());
  EXPECT_TRUE(fixture.Empty());
  gate.Open();
}

TEST(CallPipelineTest, TheClassOfTheBodyIsCheckedAndUsed) {
  std::vector<Priority> seen;
  ServiceFixture fixture([&](const request::Request& request) {
    seen.push_back(request.priority);
    return Script{};
  });
  CallInfo info = Info();
  info.caller.max_priority = Priority::kNormal;
  const auto decodes = [](Priority priority) {
    return [priority]() -> absl::StatusOr<DecodedRequest> {
      DecodedRequest request = Prompts({"a"});
      request.priority = priority;
      return request;
    };
  };
  PipelineFront denied(fixture, info), lowered(fixture, info);
  denied.AdmitAndSubmit(decodes(Priority::kHigh));
  EXPECT_REASON(denied.ReadToEnd(), Reason::kPermissionDenied);
  lowered.AdmitAndSubmit(decodes(Priority::kBatch));
  EXPECT_OK(lowered.ReadToEnd());
  denied.pipeline->Finish(denied.pipeline->status(), 7);
  lowered.pipeline->Finish(absl::OkStatus(), 0);
  EXPECT_EQ(Recorded(fixture, "class=\"normal\""), 1);
  EXPECT_EQ(Recorded(fixture, "class=\"batch\""), 1);
  fixture.engine->Stop();
  EXPECT_EQ(seen, std::vector<Priority>{Priority::kBatch});
}

// --- several calls ---

TEST(CallPipelineTest, EachPromptIsACallWithASlotOfItsOwn) {
  ServiceFixture fixture([](const request::Request& request) {
    Script script;
    script.tokens = DemoEncode(request.id);
    script.stop_token = 1;
    return script;
  });
  fixture.engine->Pause(true);
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Decodes({"a", "b", "c"}));
  ASSERT_TRUE(front.AwaitProgress(Progress::kRunning));
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 3);
  EXPECT_EQ(fixture.admission->QueuedRequests(0), 3);
  fixture.engine->Pause(false);
  ASSERT_OK(front.ReadToEnd());
  EXPECT_EQ(front.texts, (std::vector<std::string>{"r", "r-1", "r-2"}));
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CallPipelineTest, WhenOnePromptIsRefusedNoneRuns) {
  ServiceFixture::Options options;
  options.max_queue_requests = 2;
  ServiceFixture fixture(ServiceFixture::Says("x"), options);
  PipelineFront full(fixture), invalid(fixture);
  full.AdmitAndSubmit(Decodes({"a", "b", "c"}));
  EXPECT_REASON(full.ReadToEnd(), Reason::kConnectionQueueFull);
  EXPECT_TRUE(fixture.Empty());
  invalid.AdmitAndSubmit([]() -> absl::StatusOr<DecodedRequest> {
    DecodedRequest request = Prompts({"a", "b"});
    std::get<GenerateCall>(request.calls[1]).prompt = std::vector<int32_t>{-5};
    return request;
  });
  EXPECT_REASON(invalid.ReadToEnd(), Reason::kInvalidRequest);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CallPipelineTest, TheFirstFailureEndsTheRequestAndCancelsTheOthers) {
  ServiceFixture fixture([](const request::Request& request) {
    if (request.id != "r-1") return Hold(request);
    Script script;
    script.status = MakeError(Reason::kInternal, "the step failed");
    return script;
  });
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Decodes({"a", "b", "c"}));
  EXPECT_REASON(front.ReadToEnd(), Reason::kInternal);
  front.pipeline->Finish(front.pipeline->status(), 13);
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->cancelled(), 2);
}

TEST(CallPipelineTest, ChoicesThatADrainHasEndedCompleteAnHttpResponseOnly) {
  for (const Protocol protocol : {Protocol::kHttp, Protocol::kGrpc}) {
    ServiceFixture fixture([](const request::Request&) {
      Script script;
      script.tokens = DemoEncode("par");
      script.finish = request::FinishReason::kInsufficientSystemResource;
      script.finish_despite_status = true;
      script.status = MakeError(Reason::kInsufficientSystemResource, "the drain's time is up");
      return script;
    });
    PipelineFront front(fixture, Info(protocol));
    front.AdmitAndSubmit(Decodes({"a"}));
    const absl::Status status = front.ReadToEnd();
    EXPECT_REASON(status, protocol == Protocol::kHttp ? Reason::kNone : Reason::kInsufficientSystemResource);
    EXPECT_EQ(front.texts, std::vector<std::string>{"par"});
  }
}

TEST(CallPipelineTest, DrainingIsRefusedAtEveryStep) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"));
  PipelineFront decoding(fixture), late(fixture);
  decoding.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    gate.Wait();
    return Prompts({"a"});
  });
  gate.AwaitVisitor();
  fixture.admission->BeginDrain();
  EXPECT_REASON(late.pipeline->Admit(100), Reason::kDraining);
  gate.Open();
  EXPECT_REASON(decoding.ReadToEnd(), Reason::kDraining);
  EXPECT_TRUE(fixture.WaitEmpty());
}

}  // namespace
}  // namespace hadal::service
