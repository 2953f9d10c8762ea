// SPDX-License-Identifier: Apache-2.0
#include "server/http/batch_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "server/request/refusal.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using batches::LineOutcome;
using batches::LineRequest;
using batches::RunningLine;
using hadal::testing::Script;
using hadal::testing::ScriptedEngine;
using hadal::testing::ServiceFixture;
using nlohmann::json;
using request::Reason;
using ::testing::HasSubstr;

constexpr char kChat[] = "/v1/chat/completions";
constexpr char kAsk[] = R"({"messages":[{"role":"user","content":"17 + 25"}]})";

// Runs lines on a service with a scripted model.
class ExecutorFixture {
 public:
  explicit ExecutorFixture(ScriptedEngine::MakeScript script, const ServiceFixture::Options& options = {},
                           service::ApiKeys keys = {})
      : base(std::move(script), options), keys_(std::move(keys)) {}

  std::unique_ptr<RunningLine> Start(LineRequest line) {
    return executor_->Start(std::move(line), [this] { notified.fetch_add(1); });
  }
  // Reads the attempt to its end.
  LineOutcome Await(RunningLine& running) {
    for (const absl::Time end = absl::Now() + absl::Seconds(30); absl::Now() < end;
         absl::SleepFor(absl::Milliseconds(1))) {
      if (std::optional<LineOutcome> outcome = running.Advance(); outcome.has_value()) return *std::move(outcome);
    }
    ADD_FAILURE() << "the line does not end";
    return {};
  }
  LineOutcome Run(LineRequest line) { return Await(*Start(std::move(line))); }
  static LineRequest Line(std::string endpoint = kChat, std::string body = kAsk) {
    LineRequest line;
    line.endpoint = std::move(endpoint);
    line.custom_id = "ask-\"1\"";
    line.body = std::move(body);
    line.return_key = 1;
    return line;
  }

  batches::LineExecutor& executor() { return *executor_; }

  ServiceFixture base;
  std::atomic<int> notified{0};

 private:
  const service::ApiKeys keys_;
  const std::unique_ptr<batches::LineExecutor> executor_ = MakeBatchExecutor(base.service.get(), keys_, HttpOptions());
};

// The line of the result file, without its end.
json ResultOf(const LineOutcome& outcome) {
  EXPECT_EQ(outcome.result.back(), '\n');
  EXPECT_EQ(outcome.result.find('\n'), outcome.result.size() - 1) << "a result is one line";
  return json::parse(outcome.result);
}

TEST(BatchExecutorTest, AnswersInTheWordsOfEveryRoute) {
  struct Case {
    const char* endpoint;
    const char* body;
    const char* object;
    const char* text;  // where it stands in the body
  };
  const Case cases[] = {
      {kChat, kAsk, "/object=chat.completion", "/choices/0/message/content"},
      {"/v1/completions", R"({"prompt":"17 + 25"})", "/object=text_completion", "/choices/0/text"},
      {"/v1/responses", R"({"input":"17 + 25"})", "/object=response", "/output/1/content/0/text"},
      {"/v1/messages", R"({"max_tokens":30,"messages":[{"role":"user","content":"17 + 25"}]})", "/type=message",
       "/content/1/text"},
  };
  ExecutorFixture fixture([](const request::Request& request) {
    return ServiceFixture::Says(request.thinking ? "x</think>42" : "42")(request);
  });
  for (const Case& test : cases) {
    const LineOutcome outcome = fixture.Run(ExecutorFixture::Line(test.endpoint, test.body));
    ASSERT_OK(outcome.status) << test.endpoint;
    const json result = ResultOf(outcome);
    EXPECT_EQ(result["custom_id"], "ask-\"1\"");
    EXPECT_TRUE(result["error"].is_null());
    EXPECT_EQ(result["response"]["status_code"], 200);
    EXPECT_EQ(result["response"]["request_id"], result["id"]);
    EXPECT_EQ(result["id"].get<std::string>().substr(0, 10), "batch_req_");
    const json& body = result["response"]["body"];
    const std::string object = test.object;
    const size_t equals = object.find('=');
    EXPECT_EQ(body.at(json::json_pointer(object.substr(0, equals))), object.substr(equals + 1));
    EXPECT_EQ(body.at(json::json_pointer(test.text)), "42") << body;
  }
  EXPECT_GT(fixture.notified, 0);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(BatchExecutorTest, ALineIsOfTheClassBatchWhateverItAsksFor) {
  std::atomic<int> priority{-1};
  ExecutorFixture fixture([&](const request::Request& request) {
    priority = static_cast<int>(request.priority);
    return ServiceFixture::Says("</think>42")(request);
  });
  EXPECT_OK(fixture
                .Run(ExecutorFixture::Line(kChat,
                                           R"({"service_tier":"priority","messages":[{"role":"user","content":"x"}]})"))
                .status);
  EXPECT_EQ(priority, static_cast<int>(request::Priority::kBatch));
}

TEST(BatchExecutorTest, WhatARouteRefusesIsTheLinesResult) {
  ExecutorFixture fixture(ServiceFixture::Says("42"));
  struct Case {
    const char* endpoint;
    const char* body;
    Reason reason;
    int code;
    const char* says;
  };
  const Case cases[] = {
      {kChat, R"({"temperature":9,"messages":[{"role":"user","content":"x"}]})", Reason::kOutOfRange, 422,
       "temperature"},
      {kChat, R"({"stream":true,"messages":[{"role":"user","content":"x"}]})", Reason::kInvalidRequest, 400, "stream"},
      {kChat, R"({"model":"none","messages":[{"role":"user","content":"x"}]})", Reason::kModelNotFound, 404, "none"},
      {"/v1/messages", R"({"messages":[]})", Reason::kInvalidRequest, 400, "invalid_request_error"},
  };
  for (const Case& test : cases) {
    const LineOutcome outcome = fixture.Run(ExecutorFixture::Line(test.endpoint, test.body));
    EXPECT_REASON(outcome.status, test.reason) << test.body;
    const json result = ResultOf(outcome);
    EXPECT_EQ(result["response"]["status_code"], test.code) << test.body;
    EXPECT_THAT(result["response"]["body"]["error"].dump(), HasSubstr(test.says));
    EXPECT_TRUE(result["error"].is_null());
  }
  // In its own API's shape.
  EXPECT_EQ(ResultOf(fixture.Run(ExecutorFixture::Line("/v1/messages", "{}")))["response"]["body"]["type"], "error");
}

TEST(BatchExecutorTest, AFullServersRefusalSaysWhenToReturn) {
  ExecutorFixture fixture(ServiceFixture::Says("42"), {.max_queue_requests = 1});
  fixture.base.engine->Pause(true);
  const std::unique_ptr<RunningLine> waiting = fixture.Start(ExecutorFixture::Line());
  while (fixture.base.admission->QueuedRequests(0) == 0) absl::SleepFor(absl::Milliseconds(1));
  const LineOutcome refused = fixture.Run(ExecutorFixture::Line());
  EXPECT_REASON(refused.status, Reason::kConnectionQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(refused.status).retry_after.has_value());
  EXPECT_EQ(ResultOf(refused)["response"]["status_code"], 503);
  fixture.base.engine->Pause(false);
  EXPECT_OK(fixture.Await(*waiting).status);
}

TEST(BatchExecutorTest, SeesWhetherOthersCome) {
  ExecutorFixture fixture(ServiceFixture::Says("</think>42"));
  EXPECT_OK(fixture.Run(ExecutorFixture::Line()).status);
  EXPECT_FALSE(fixture.executor().OthersCome()) << "lines are no others";
  EXPECT_OK(fixture.base.service->Admit({.priority = request::Priority::kLow}).status());
  EXPECT_TRUE(fixture.executor().OthersCome());
}

TEST(BatchExecutorTest, AnAttemptThatIsGivenUpGivesEverythingBack) {
  ExecutorFixture fixture([](const request::Request&) {
    Script script;
    script.hold = true;
    return script;
  });
  std::unique_ptr<RunningLine> running = fixture.Start(ExecutorFixture::Line());
  while (fixture.base.engine->running() == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(running->Advance().has_value());
  running.reset();
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_EQ(fixture.base.engine->cancelled(), 1);
}

TEST(BatchExecutorTest, AnAnswerThatTheServersEndCutsShortIsNone) {
  for (const bool by_status : {false, true}) {
    ExecutorFixture fixture([&](const request::Request& request) {
      Script script = ServiceFixture::Says("</think>4")(request);
      script.stop_token = -1;
      script.finish = request::FinishReason::kInsufficientSystemResource;
      if (by_status) script.status = request::MakeError(Reason::kInsufficientSystemResource, "drained");
      return script;
    });
    EXPECT_REASON(fixture.Run(ExecutorFixture::Line()).status, Reason::kInsufficientSystemResource) << by_status;
    EXPECT_TRUE(fixture.base.WaitEmpty());
  }
}

TEST(BatchExecutorTest, RunsWithinTheLimitsOfTheTenantsKey) {
  ExecutorFixture fixture(
      [](const request::Request&) {
        Script script;
        script.hold = true;
        return script;
      },
      {}, service::ApiKeys::Parse("sk-a one requests=1\nsk-b two\n", "keys").value());
  LineRequest line = ExecutorFixture::Line();
  line.owner = "one";
  const std::unique_ptr<RunningLine> running = fixture.Start(line);
  while (fixture.base.engine->running() == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_REASON(fixture.Run(line).status, Reason::kTenantQuota);
  line.owner = "gone";  // its key was taken out of the file
  const LineOutcome refused = fixture.Run(line);
  EXPECT_REASON(refused.status, Reason::kUnauthenticated);
  EXPECT_EQ(ResultOf(refused)["response"]["status_code"], 401);
  EXPECT_EQ(fixture.base.engine->running(), 1);
}

}  // namespace
}  // namespace hadal::http
