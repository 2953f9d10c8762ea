// SPDX-License-Identifier: Apache-2.0
#include "server/service/access_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using nlohmann::json;

const absl::Time kArrival = absl::UnixEpoch() + absl::Seconds(100);

// What the log writes about one request.
json LineOf(const CallInfo& info, const CallOutcome& outcome) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  AccessLog log(base::LineWriter::ToDescriptor(ends[1]));
  log.Write(info, outcome, absl::FromUnixMillis(1764444011123));
  log.Close();
  char bytes[4096];
  const ssize_t size = ::read(ends[0], bytes, sizeof(bytes));
  for (const int fd : ends) ::close(fd);
  const std::string text(bytes, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  return json::parse(text);
}

CallInfo Info() {
  CallInfo info;
  info.route = "/v1/chat/completions";
  info.request_id = "r-1";
  info.network = "192.0.2.7";
  info.arrival = kArrival;
  return info;
}

TEST(AccessLogTest, AnAnswerHasTokensAndTimes) {
  CallInfo info = Info();
  info.trace.trace_id = "0af7651916cd43dd8448eb211c80319c";
  info.caller.tenant = "a \"tenant\"";
  info.caller.priority = request::Priority::kBatch;
  CallOutcome outcome{.code = 200};
  outcome.model = "demo";
  outcome.usage = {.prompt_tokens = 12, .completion_tokens = 7, .reasoning_tokens = 3, .cache_hit_tokens = 8};
  outcome.finishes = {Finish::kStop, Finish::kLength};
  outcome.times = {.started = kArrival + absl::Milliseconds(2), .first_token = kArrival + absl::Microseconds(5250)};
  outcome.duration = absl::Seconds(2);
  EXPECT_EQ(LineOf(info, outcome), json::parse(R"({
    "time": "2025-11-29T19:20:11.123Z", "request_id": "r-1", "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "protocol": "http", "route": "/v1/chat/completions", "status": 200, "outcome": "ok", "class": "batch",
    "tenant": "a \"tenant\"", "client": "192.0.2.7", "model": "demo", "prompt_tokens": 12, "cached_tokens": 8,
    "completion_tokens": 7, "reasoning_tokens": 3, "finish_reason": "stop,length", "queue_ms": 2.0, "ttft_ms": 5.25, "duration_ms": 2000.0})"));
}

TEST(AccessLogTest, AnAnswerOfAnotherServerNamesIt) {
  CallOutcome outcome{.code = 200, .served_by = "far"};
  outcome.duration = absl::Seconds(2);
  EXPECT_EQ(LineOf(Info(), outcome), json::parse(R"({
    "time": "2025-11-29T19:20:11.123Z", "request_id": "r-1", "protocol": "http", "route": "/v1/chat/completions",
    "status": 200, "outcome": "ok", "class": "normal", "client": "192.0.2.7", "served_by": "far", "duration_ms": 2000.0})"));
}

TEST(AccessLogTest, ARefusalHasItsReasonAndHintAndNothingThatIsNotKnown) {
  CallInfo info = Info();
  info.protocol = Protocol::kGrpc;
  info.route = "Chat";
  CallOutcome outcome{.status = request::MakeBusy(request::Reason::kWaitLimit, "full", absl::Milliseconds(1500)),
                      .code = 14};
  outcome.duration = absl::Microseconds(80);
  EXPECT_EQ(LineOf(info, outcome), json::parse(R"({
    "time": "2025-11-29T19:20:11.123Z", "request_id": "r-1", "protocol": "grpc", "route": "Chat", "status": 14,
    "outcome": "shed", "reason": "WAIT_LIMIT", "retry_after_ms": 1500.0, "class": "normal", "client": "192.0.2.7",
    "duration_ms": 0.08})"));
}

}  // namespace
}  // namespace hadal::service
