// SPDX-License-Identifier: Apache-2.0
#include "server/service/degradation.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/pipeline_front.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::Complete;
using hadal::testing::Decodes;
using hadal::testing::Hold;
using hadal::testing::Info;
using hadal::testing::PipelineFront;
using hadal::testing::ServiceFixture;
using request::Priority;
using request::Reason;

CallInfo Strict() {
  CallInfo info = Info();
  info.allow_degraded = false;
  return info;
}

// Greedy, so that its output is kept.
CallPipeline::Decode Greedy(const std::string& text) {
  return [text]() -> absl::StatusOr<DecodedRequest> {
    DecodedRequest request = hadal::testing::Prompts({text});
    std::get<GenerateCall>(request.calls[0]).options.sampling.temperature = 0;
    return request;
  };
}

// One request fits into the queue, and the engine takes none.
ServiceFixture::Options FullQueue(DegradationOptions degradation) {
  ServiceFixture::Options options;
  options.max_queue_requests = 1;
  options.degradation = std::move(degradation);
  return options;
}

TEST(DegradationTest, WithoutRungsAFullQueueRefuses) {
  ServiceFixture fixture(Hold, FullQueue({}));
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture), front(fixture);
  waiting.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_REASON(front.pipeline->CheckRoom(0), Reason::kConnectionQueueFull);
  EXPECT_REASON(front.pipeline->Admit(100), Reason::kConnectionQueueFull);
}

TEST(DegradationTest, TheSameRequestGetsItsTokensAgainWhileTheQueueIsFull) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), FullQueue({.cache_bytes = 1 << 20}));
  PipelineFront first(fixture);
  first.AdmitAndSubmit(Greedy("a"));
  ASSERT_OK(first.ReadToEnd());
  EXPECT_EQ(first.pipeline->calls()[0]->degraded(), Rung::kNone);

  fixture.engine->Pause(true);
  PipelineFront waiting(fixture), again(fixture), other(fixture), strict(fixture, Strict());
  waiting.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_OK(again.pipeline->CheckRoom(0));
  again.AdmitAndSubmit(Greedy("a"));
  ASSERT_OK(again.ReadToEnd());
  EXPECT_EQ(again.texts, first.texts);
  EXPECT_EQ(again.pipeline->calls()[0]->degraded(), Rung::kCache);
  EXPECT_EQ(again.pipeline->usage().completion_tokens, first.pipeline->usage().completion_tokens);

  other.AdmitAndSubmit(Greedy("b"));
  const absl::Status refused = other.ReadToEnd();
  EXPECT_REASON(refused, Reason::kConnectionQueueFull) << "it never ran before";
  EXPECT_TRUE(request::GetErrorDetail(refused).retry_after.has_value());
  EXPECT_REASON(strict.pipeline->Admit(100), Reason::kConnectionQueueFull) << "its client forbids it";
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 1);
}

TEST(DegradationTest, AnOutputThatMayDifferIsNotGivenAgain) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), FullQueue({.cache_bytes = 1 << 20}));
  PipelineFront first(fixture);
  first.AdmitAndSubmit(Decodes({"a"}));  // sampled, without a seed of its own
  ASSERT_OK(first.ReadToEnd());
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture), again(fixture);
  waiting.AdmitAndSubmit(Decodes({"x"}));
  again.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_REASON(again.ReadToEnd(), Reason::kConnectionQueueFull);
}

TEST(DegradationTest, AFixedTextAnswersTheRest) {
  ServiceFixture fixture(Hold, FullQueue({.answer = "busy"}));
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture), front(fixture);
  waiting.AdmitAndSubmit(Decodes({"a"}));
  front.AdmitAndSubmit(Decodes({"b", "c"}));
  ASSERT_OK(front.ReadToEnd());
  EXPECT_EQ(front.texts, (std::vector<std::string>{"busy", "busy"}));
  EXPECT_EQ(front.pipeline->calls()[1]->degraded(), Rung::kStatic);
}

TEST(DegradationTest, AFullQueueIsNoMatterForTheRungsOfMemory) {
  ServiceFixture fixture(Hold, FullQueue({.max_tokens = 8, .fallback_model = "other"}));
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture), front(fixture);
  waiting.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_REASON(front.pipeline->CheckRoom(100), Reason::kConnectionQueueFull) << "its body need not be read";
  EXPECT_REASON(front.pipeline->Admit(100), Reason::kConnectionQueueFull);
}

TEST(DegradationTest, ErrorsAreNotAnsweredWithAText) {
  ServiceFixture fixture(ServiceFixture::Says("x"), FullQueue({.answer = "busy"}));
  PipelineFront front(fixture);
  front.AdmitAndSubmit([]() -> absl::StatusOr<DecodedRequest> {
    DecodedRequest request = hadal::testing::Prompts({"a"});
    std::get<GenerateCall>(request.calls[0]).options.sampling.temperature = 9;
    return request;
  });
  EXPECT_REASON(front.ReadToEnd(), Reason::kOutOfRange);
}

GenerateCall Long(std::string text, Priority priority, int32_t max_tokens) {
  GenerateCall call = Complete(std::move(text));
  call.options.priority = priority;
  call.options.stopping.max_tokens = max_tokens;
  return call;
}

// Prepared and started with a slot of its own; keeps what was started.
absl::StatusOr<std::unique_ptr<ActiveCall>> Start(ServiceFixture& fixture, GenerateCall call) {
  absl::StatusOr<admission::Ticket> ticket = fixture.service->Admit({call.options.priority, "", "r", 10});
  if (!ticket.ok()) return ticket.status();
  return fixture.service->StartGenerate(std::move(call), *std::move(ticket));
}

// Memory for eight blocks of 64 tokens, of which Fill takes six.
ServiceFixture::Options ShortMemory(DegradationOptions degradation) {
  ServiceFixture::Options options;
  options.pool_blocks = 8;
  options.second_model = true;
  options.degradation = std::move(degradation);
  return options;
}

using Started = std::vector<std::unique_ptr<ActiveCall>>;
Started Fill(ServiceFixture& fixture) {
  fixture.engine->Pause(true);
  Started started;
  for (const int32_t max_tokens : {500, 200}) {
    started.push_back(Start(fixture, Long("a", Priority::kNormal, max_tokens)).value());
  }
  EXPECT_EQ(fixture.pool.leased_bytes(), 6 * ServiceFixture::kBlockBytes);
  return started;
}

TEST(DegradationTest, LowClassesGetAShorterOutputWhenMemoryIsShort) {
  ServiceFixture fixture(Hold, ShortMemory({.max_tokens = 64}));
  const Started first = Fill(fixture);
  EXPECT_REASON(Start(fixture, Long("b", Priority::kNormal, 450)).status(), Reason::kGpuMemoryExhausted);
  const auto low = Start(fixture, Long("b", Priority::kLow, 450));
  ASSERT_OK(low);
  EXPECT_EQ((*low)->degraded(), Rung::kMaxTokens);
  GenerateCall strict = Long("c", Priority::kLow, 450);
  strict.options.allow_degraded = false;
  EXPECT_REASON(Start(fixture, std::move(strict)).status(), Reason::kGpuMemoryExhausted);
}

ChatCall Thinking(Priority priority) {
  ChatCall call;
  call.messages.push_back({.role = "user", .content = "a"});
  call.options.priority = priority;
  call.options.stopping.max_tokens = 400;
  call.thinking = true;
  return call;
}

absl::StatusOr<std::unique_ptr<ActiveCall>> StartChat(ServiceFixture& fixture, ChatCall call) {
  absl::StatusOr<admission::Ticket> ticket = fixture.service->Admit({call.options.priority, "", "r", 10});
  if (!ticket.ok()) return ticket.status();
  return fixture.service->StartChat(std::move(call), *std::move(ticket));
}

// Answers with reasoning have had 300 tokens, those without it 20.
void TeachLengths(ServiceFixture& fixture) {
  request::Request request;
  for (int i = 0; i < 20; ++i) {
    request.thinking = i % 2 == 0;
    for (int k = 0; k < 2; ++k) fixture.admission->RecordOutputLength(0, request, request.thinking ? 300 : 20);
  }
}

TEST(DegradationTest, LowClassesAnswerWithoutReasoningWhenMemoryIsShort) {
  ServiceFixture::Options options = ShortMemory({.reasoning_effort = true, .max_tokens = 1});
  options.chat_style = chat::ChatStyle::kDeepSeekV31;  // has a switch for it
  ServiceFixture fixture(Hold, std::move(options));
  TeachLengths(fixture);
  fixture.engine->Pause(true);
  const auto first = StartChat(fixture, Thinking(Priority::kLow));
  ASSERT_OK(first);
  EXPECT_EQ((*first)->degraded(), Rung::kNone) << "there is memory for its reasoning";
  EXPECT_GT(fixture.pool.leased_bytes(), 4 * ServiceFixture::kBlockBytes);

  EXPECT_REASON(StartChat(fixture, Thinking(Priority::kNormal)).status(), Reason::kGpuMemoryExhausted);
  ChatCall strict = Thinking(Priority::kLow);
  strict.options.allow_degraded = false;
  EXPECT_REASON(StartChat(fixture, std::move(strict)).status(), Reason::kGpuMemoryExhausted);
  const auto low = StartChat(fixture, Thinking(Priority::kLow));
  ASSERT_OK(low);
  EXPECT_EQ((*low)->degraded(), Rung::kReasoningEffort) << "before its output is shortened";
  EXPECT_THAT(fixture.metrics.Expose(), ::testing::HasSubstr("hadal_degraded_total{rung=\"reasoning-effort\"} 1"));
}

TEST(DegradationTest, AnotherModelAnswersWhenTheRequestedOneLacksMemory) {
  ServiceFixture fixture(Hold, ShortMemory({.fallback_model = "other"}));
  const Started first = Fill(fixture);
  EXPECT_EQ(first[0]->model().name, "demo");
  const auto second = Start(fixture, Long("b", Priority::kNormal, 450));
  ASSERT_OK(second);
  EXPECT_EQ((*second)->model().name, "other");
  EXPECT_EQ((*second)->degraded(), Rung::kModel);
  EXPECT_GT(fixture.other_pool.leased_bytes(), 0);
}

TEST(DegradationTest, TheClientIsToldTheRefusalOfTheModelThatItAskedFor) {
  ServiceFixture fixture(Hold, ShortMemory({.max_tokens = 400, .answer = ""}));
  const Started first = Fill(fixture);
  EXPECT_REASON(Start(fixture, Long("b", Priority::kLow, 450)).status(), Reason::kGpuMemoryExhausted)
      << "the shorter output does not fit either";
}

}  // namespace
}  // namespace hadal::service
