// SPDX-License-Identifier: Apache-2.0
// Calls that ask for the response cache, from the pipeline to the scripted engine.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/service/call_key.h"
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
using response_cache::CacheControl;
using response_cache::CacheResult;
using Mode = CacheControl::Mode;

ServiceFixture::Options WithCache(int64_t max_queue_requests = 64) {
  ServiceFixture::Options options;
  options.max_queue_requests = max_queue_requests;
  options.response_cache.levels = "memory";
  return options;
}

CallInfo Asking(Mode mode = Mode::kUse, std::string tenant = "") {
  CallInfo info = Info();
  info.cache.mode = mode;
  info.caller.tenant = std::move(tenant);
  return info;
}

CallPipeline::Decode Greedy(std::vector<std::string> texts) {
  return [texts]() -> absl::StatusOr<DecodedRequest> {
    DecodedRequest request = hadal::testing::Prompts(texts);
    for (auto& call : request.calls) std::get<GenerateCall>(call).options.sampling.temperature = 0;
    return request;
  };
}

CacheResult ResultOf(const PipelineFront& front, size_t call = 0) { return front.pipeline->calls()[call]->cache(); }

// Admits, runs to the end, and says what became of it in the cache.
CacheResult RunCall(ServiceFixture& fixture, CallInfo info, CallPipeline::Decode decode, std::string* text = nullptr) {
  PipelineFront front(fixture, std::move(info));
  front.AdmitAndSubmit(std::move(decode));
  EXPECT_OK(front.ReadToEnd());
  if (text != nullptr) *text = front.texts.at(0);
  const CacheResult result = ResultOf(front);
  front.pipeline->Finish(absl::OkStatus(), 0);
  return result;
}

TEST(CachedCallsTest, TheSecondEqualRequestNeedsNoEngine) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache());
  std::string first, again;
  EXPECT_EQ(RunCall(fixture, Asking(), Greedy({"a"}), &first), CacheResult::kMiss);
  EXPECT_EQ(first, "hello");
  fixture.engine->Pause(true);
  EXPECT_EQ(RunCall(fixture, Asking(), Greedy({"a"}), &again), CacheResult::kHit);
  EXPECT_EQ(again, first);
  EXPECT_EQ(fixture.engine->finished(), 1);
  EXPECT_TRUE(fixture.WaitEmpty()) << "a hit leaves neither slot nor lease";
}

TEST(CachedCallsTest, AHitHasTheUsageOfTheFirst) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache());
  PipelineFront first(fixture, Asking()), again(fixture, Asking());
  first.AdmitAndSubmit(Greedy({"a", "b"}));
  ASSERT_OK(first.ReadToEnd());
  again.AdmitAndSubmit(Greedy({"a", "b"}));
  ASSERT_OK(again.ReadToEnd());
  EXPECT_EQ(ResultOf(again, 1), CacheResult::kHit);
  EXPECT_GT(first.pipeline->usage().prompt_tokens, 0);
  EXPECT_EQ(again.pipeline->usage().prompt_tokens, first.pipeline->usage().prompt_tokens);
  EXPECT_EQ(again.pipeline->usage().completion_tokens, first.pipeline->usage().completion_tokens);
}

TEST(CachedCallsTest, NobodyIsAnsweredFromItWhoDoesNotAsk) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache());
  EXPECT_EQ(RunCall(fixture, Asking(), Greedy({"a"})), CacheResult::kMiss);
  EXPECT_EQ(RunCall(fixture, Info(), Greedy({"a"})), CacheResult::kNone);
  EXPECT_EQ(RunCall(fixture, Asking(Mode::kNoStore), Greedy({"a"})), CacheResult::kNone);
  EXPECT_EQ(fixture.engine->finished(), 3);
  EXPECT_EQ(RunCall(fixture, Info(), Greedy({"b"})), CacheResult::kNone);
  EXPECT_EQ(RunCall(fixture, Asking(), Greedy({"b"})), CacheResult::kMiss) << "nor stored for whoever asks";
}

TEST(CachedCallsTest, WhatMayDifferTheNextTimePassesItBy) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache());
  EXPECT_EQ(RunCall(fixture, Asking(), Decodes({"a"})), CacheResult::kBypass);
  EXPECT_EQ(RunCall(fixture, Asking(), Decodes({"a"})), CacheResult::kBypass);
}

TEST(CachedCallsTest, OnlyIfCachedNeverRuns) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache());
  const auto ask = [&] {
    PipelineFront front(fixture, Asking(Mode::kOnly));
    front.AdmitAndSubmit(Greedy({"a"}));
    return front.ReadToEnd();
  };
  EXPECT_REASON(ask(), Reason::kNotCached);
  EXPECT_EQ(fixture.engine->finished(), 0);
  RunCall(fixture, Asking(), Greedy({"a"}));
  EXPECT_OK(ask());
  ServiceFixture without(ServiceFixture::Says("hello"));
  PipelineFront front(without, Asking(Mode::kOnly));
  front.AdmitAndSubmit(Greedy({"a"}));
  EXPECT_REASON(front.ReadToEnd(), Reason::kNotCached) << "there is no cache at all";
}

TEST(CachedCallsTest, TenantsShareNothingUntilAllowed) {
  for (const bool shared : {false, true}) {
    ServiceFixture::Options options = WithCache();
    options.response_cache.shared = shared;
    ServiceFixture fixture(ServiceFixture::Says("hello"), options);
    RunCall(fixture, Asking(Mode::kUse, "acme"), Greedy({"a"}));
    EXPECT_EQ(RunCall(fixture, Asking(Mode::kUse, "acme"), Greedy({"a"})), CacheResult::kHit);
    EXPECT_EQ(RunCall(fixture, Asking(Mode::kUse, "other"), Greedy({"a"})),
              shared ? CacheResult::kHit : CacheResult::kMiss);
  }
}

TEST(CachedCallsTest, AFullQueueRefusesNoHit) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache(/*max_queue_requests=*/1));
  RunCall(fixture, Asking(), Greedy({"a"}));
  fixture.engine->Pause(true);
  PipelineFront waiting(fixture);
  waiting.AdmitAndSubmit(Decodes({"x"}));
  EXPECT_EQ(RunCall(fixture, Asking(), Greedy({"a"})), CacheResult::kHit);
  PipelineFront miss(fixture, Asking()), silent(fixture), refresh(fixture, Asking(Mode::kRefresh));
  EXPECT_OK(miss.pipeline->CheckRoom(0));
  miss.AdmitAndSubmit(Greedy({"b"}));
  const absl::Status refused = miss.ReadToEnd();
  EXPECT_REASON(refused, Reason::kConnectionQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(refused).retry_after.has_value());
  EXPECT_REASON(silent.pipeline->Admit(100), Reason::kConnectionQueueFull) << "it does not ask";
  EXPECT_REASON(refresh.pipeline->Admit(100), Reason::kConnectionQueueFull) << "it wants to run";
}

TEST(CachedCallsTest, EqualRequestsInFlightRunOnce) {
  ServiceFixture fixture(ServiceFixture::Says("hello"), WithCache());
  fixture.engine->Pause(true);
  std::vector<std::unique_ptr<PipelineFront>> fronts;
  for (int i = 0; i < 8; ++i) {
    fronts.push_back(std::make_unique<PipelineFront>(fixture, Asking()));
    fronts.back()->AdmitAndSubmit(Greedy({"a"}));
  }
  int coalesced = 0;
  for (const auto& front : fronts) {
    ASSERT_TRUE(front->AwaitProgress(CallPipeline::Progress::kRunning));
    coalesced += ResultOf(*front) == CacheResult::kCoalesced;
  }
  EXPECT_EQ(coalesced, 7);
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 1) << "followers give their slots back";
  fixture.engine->Pause(false);
  for (const auto& front : fronts) {
    ASSERT_OK(front->ReadToEnd());
    EXPECT_EQ(front->texts.at(0), "hello");
    EXPECT_EQ(front->pipeline->usage().completion_tokens, fronts[0]->pipeline->usage().completion_tokens);
  }
  EXPECT_EQ(fixture.engine->finished(), 1);
}

TEST(CachedCallsTest, FollowersStayWhenTheLeaderLeavesAndTheLastOneEndsIt) {
  ServiceFixture fixture(Hold, WithCache());
  auto leader = std::make_unique<PipelineFront>(fixture, Asking());
  leader->AdmitAndSubmit(Greedy({"a"}));
  ASSERT_TRUE(leader->AwaitProgress(CallPipeline::Progress::kRunning));
  PipelineFront follower(fixture, Asking());
  follower.AdmitAndSubmit(Greedy({"a"}));
  ASSERT_TRUE(follower.AwaitProgress(CallPipeline::Progress::kRunning));
  EXPECT_EQ(ResultOf(follower), CacheResult::kCoalesced);
  leader->pipeline->Cancel();
  EXPECT_REASON(leader->ReadToEnd(), Reason::kCancelled);
  leader.reset();
  EXPECT_EQ(follower.Read(), CallPipeline::Progress::kRunning);
  EXPECT_EQ(fixture.engine->cancelled(), 0);
  follower.pipeline->Cancel();
  EXPECT_REASON(follower.ReadToEnd(), Reason::kCancelled);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CachedCallsTest, AFollowerKeepsItsOwnDeadline) {
  ServiceFixture fixture(Hold, WithCache());
  PipelineFront leader(fixture, Asking());
  leader.AdmitAndSubmit(Greedy({"a"}));
  ASSERT_TRUE(leader.AwaitProgress(CallPipeline::Progress::kRunning));
  CallInfo hurried = Asking();
  hurried.deadline = hurried.arrival + absl::Seconds(3);
  PipelineFront follower(fixture, std::move(hurried));
  follower.AdmitAndSubmit(Greedy({"a"}));
  EXPECT_REASON(follower.ReadToEnd(), Reason::kDeadlineExpired);
  EXPECT_EQ(leader.Read(), CallPipeline::Progress::kRunning);
  EXPECT_EQ(fixture.engine->cancelled(), 0);
}

// The key of a call as it was prepared.
response_cache::CacheKey KeyOf(ServiceFixture& fixture, GenerateCall call) {
  return service::KeyOf(**fixture.service->Prepare(std::move(call)), /*for_all_tenants=*/false);
}

TEST(CachedCallsTest, TheKeyKnowsWhatTheEngineIsNotTold) {
  ServiceFixture fixture(Hold, WithCache());
  const auto greedy = [] {
    GenerateCall call = Complete("a");
    call.options.sampling.temperature = 0;
    return call;
  };
  const std::vector<std::function<void(CallOptions&)>> changes = {
      [](CallOptions& o) { o.tenant = "acme"; },
      [](CallOptions& o) { o.user = "me"; },
      [](CallOptions& o) { o.cache_salt = "salt"; },
      [](CallOptions& o) { o.stopping.stop = {"x"}; },
      [](CallOptions& o) { o.skip_special_tokens = false; },
      [](CallOptions& o) {
        o.response_format = {.kind = ResponseFormat::Kind::kChoice, .choices = {"yes", "no"}};
      },
      [](CallOptions& o) {
        o.response_format = {.kind = ResponseFormat::Kind::kChoice, .choices = {"yes", "si"}};
      },
      [](CallOptions& o) { o.response_format = {.kind = ResponseFormat::Kind::kRegex, .regex = "[ab]+"}; },
  };
  std::vector<response_cache::CacheKey> keys = {KeyOf(fixture, greedy())};
  EXPECT_EQ(KeyOf(fixture, greedy()), keys[0]);
  for (const auto& change : changes) {
    GenerateCall call = greedy();
    change(call.options);
    const response_cache::CacheKey key = KeyOf(fixture, std::move(call));
    EXPECT_EQ(std::count(keys.begin(), keys.end(), key), 0) << "change " << keys.size() - 1;
    keys.push_back(key);
  }
}

TEST(CachedCallsTest, TheLimitOnThinkingIsPartOfTheKey) {
  ServiceFixture fixture(Hold, WithCache());
  const auto key = [&](std::optional<int32_t> limit, bool control = false) {
    ChatCall call;
    call.messages.push_back({.role = "user", .content = "a"});
    call.options.sampling.temperature = 0;
    call.options.stopping.max_tokens = 16;
    call.thinking = true;
    call.max_thinking_tokens = limit;
    call.reasoning_control = control;
    return service::KeyOf(**fixture.service->Prepare(std::move(call)), false);
  };
  EXPECT_NE(key(std::nullopt), "");
  EXPECT_NE(key(std::nullopt), key(4));
  EXPECT_NE(key(5), key(4));
  EXPECT_EQ(key(4), key(4));
  EXPECT_EQ(key(4, /*control=*/true), "") << "its reasoning may be ended at any moment";
}

}  // namespace
}  // namespace hadal::service
