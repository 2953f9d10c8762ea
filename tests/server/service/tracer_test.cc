// SPDX-License-Identifier: Apache-2.0
#include "server/service/tracer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using base::Span;
using ::testing::ElementsAre;
using ::testing::Not;

constexpr char kTraceId[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kParentId[] = "b7ad6b7169203331";
const absl::Time kArrival = absl::UnixEpoch() + absl::Seconds(100);                 // of the monotonic clock
const absl::Time kWallEnd = absl::FromUnixSeconds(1764444011) + absl::Seconds(10);  // 10 s after the arrival

class Kept : public base::SpanSink {
 public:
  void Take(std::vector<Span> taken) override {
    for (Span& span : taken) spans.push_back(std::move(span));
  }
  std::vector<Span> spans;
};

// A value as text, empty where there is no such attribute.
std::string Attribute(const Span& span, std::string_view name) {
  for (const auto& [key, value] : span.attributes) {
    if (key != name) continue;
    if (const auto* text = std::get_if<std::string>(&value)) return *text;
    if (const auto* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
    std::string joined;
    for (const std::string& text : std::get<std::vector<std::string>>(value)) joined += text + ";";
    return joined;
  }
  return "";
}

CallInfo Traced(std::string_view route = "/v1/chat/completions") {
  CallInfo info;
  info.route = route;
  info.request_id = "r-1";
  info.network = "192.0.2.7";
  info.arrival = kArrival;
  info.trace = {
      .trace_id = kTraceId, .parent_id = kParentId, .sampled = true, .state = "a=b", .span_id = "00f067aa0ba902b7"};
  return info;
}

CallOutcome Answer() {
  CallOutcome outcome{.code = 200};
  outcome.model = "demo";
  outcome.usage = {.prompt_tokens = 12, .completion_tokens = 7, .cache_hit_tokens = 8};
  outcome.finishes = {Finish::kStop, Finish::kLength};
  outcome.times = {kArrival + absl::Seconds(1), kArrival + absl::Seconds(3), kArrival + absl::Seconds(8)};
  outcome.first_update = kArrival + absl::Seconds(4);
  return outcome;
}

std::vector<Span> SpansOf(const CallInfo& info, const CallOutcome& outcome) {
  Kept kept;
  Tracer(&kept, 1).End(info, outcome, kArrival + absl::Seconds(10), kWallEnd);
  return kept.spans;
}

std::vector<std::string> NamesOf(const std::vector<Span>& spans) {
  std::vector<std::string> names;
  for (const Span& span : spans) names.push_back(span.name);
  return names;
}

TEST(TracerTest, ARequestHasASpanAndItsPhasesInside) {
  const std::vector<Span> spans = SpansOf(Traced(), Answer());
  ASSERT_THAT(NamesOf(spans), ElementsAre("chat demo", "queue", "prefill", "decode", "write"));
  const absl::Time begin = kWallEnd - absl::Seconds(10);
  const std::pair<int, int> seconds[] = {{0, 10}, {0, 1}, {1, 3}, {3, 8}, {4, 10}};
  std::set<std::string> ids;
  for (size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(spans[i].trace_id, kTraceId);
    EXPECT_EQ(spans[i].state, "a=b");
    EXPECT_EQ(spans[i].parent_id, i == 0 ? kParentId : spans[0].span_id);
    EXPECT_EQ(spans[i].remote_parent, i == 0);
    EXPECT_EQ(spans[i].kind, i == 0 ? Span::Kind::kServer : Span::Kind::kInternal);
    EXPECT_EQ(spans[i].start, begin + absl::Seconds(seconds[i].first)) << spans[i].name;
    EXPECT_EQ(spans[i].end, begin + absl::Seconds(seconds[i].second)) << spans[i].name;
    EXPECT_EQ(spans[i].span_id.size(), 16u);
    ids.insert(spans[i].span_id);
  }
  EXPECT_EQ(ids.size(), spans.size());
  EXPECT_EQ(spans[0].span_id, "00f067aa0ba902b7") << "the one that the response has named";
}

TEST(TracerTest, AttributesFollowTheConventions) {
  const Span span = SpansOf(Traced(), Answer())[0];
  EXPECT_EQ(Attribute(span, "gen_ai.operation.name"), "chat");
  EXPECT_EQ(Attribute(span, "gen_ai.provider.name"), "deepseek");
  EXPECT_EQ(Attribute(span, "gen_ai.request.model"), "demo");
  EXPECT_EQ(Attribute(span, "gen_ai.usage.input_tokens"), "12");
  EXPECT_EQ(Attribute(span, "gen_ai.usage.output_tokens"), "7");
  EXPECT_EQ(Attribute(span, "gen_ai.usage.cache_read.input_tokens"), "8");
  EXPECT_EQ(Attribute(span, "gen_ai.response.finish_reasons"), "stop;length;");
  EXPECT_EQ(Attribute(span, "http.route"), "/v1/chat/completions");
  EXPECT_EQ(Attribute(span, "http.response.status_code"), "200");
  EXPECT_EQ(Attribute(span, "hadal.request_id"), "r-1");
  EXPECT_EQ(Attribute(span, "hadal.outcome"), "ok");
  EXPECT_EQ(Attribute(span, "error.type"), "");
  EXPECT_FALSE(span.error);
}

TEST(TracerTest, TheRouteSaysWhatWasAskedFor) {
  EXPECT_EQ(SpansOf(Traced("/v1/completions"), Answer())[0].name, "text_completion demo");
  EXPECT_EQ(SpansOf(Traced("Generate"), Answer())[0].name, "text_completion demo");
  EXPECT_EQ(SpansOf(Traced("Chat"), Answer())[0].name, "chat demo");
  const CallOutcome plain{.code = 200};
  EXPECT_EQ(SpansOf(Traced("/v1/models"), plain)[0].name, "/v1/models");
  EXPECT_EQ(Attribute(SpansOf(Traced("/v1/models"), plain)[0], "gen_ai.operation.name"), "");
  EXPECT_EQ(SpansOf(Traced("/v1/messages"), Answer())[0].name, "chat demo");
  EXPECT_EQ(SpansOf(Traced("/v1/messages/count_tokens"), plain)[0].name, "/v1/messages/count_tokens");
}

TEST(TracerTest, ARefusalIsOneSpanWithItsReasonAndHint) {
  CallInfo info = Traced("Chat");
  info.protocol = Protocol::kGrpc;
  const CallOutcome refused{.status = request::MakeBusy(request::Reason::kWaitLimit, "full", absl::Milliseconds(1500)),
                            .code = 14};
  const std::vector<Span> spans = SpansOf(info, refused);
  ASSERT_THAT(NamesOf(spans), ElementsAre("chat"));
  EXPECT_TRUE(spans[0].error);
  EXPECT_EQ(spans[0].error_message, "WAIT_LIMIT");
  EXPECT_EQ(Attribute(spans[0], "error.type"), "WAIT_LIMIT");
  EXPECT_EQ(Attribute(spans[0], "hadal.retry_after_ms"), "1500");
  EXPECT_EQ(Attribute(spans[0], "rpc.grpc.status_code"), "14");
  EXPECT_EQ(Attribute(spans[0], "rpc.method"), "Chat");
}

TEST(TracerTest, WhatTheCallerDidWrongIsNoErrorOfTheServerAndItsTextStaysOut) {
  const CallOutcome invalid{.status = request::MakeError(request::Reason::kInvalidRequest, "SECRET"), .code = 400};
  const Span span = SpansOf(Traced(), invalid)[0];
  EXPECT_FALSE(span.error);
  EXPECT_EQ(Attribute(span, "error.type"), "INVALID_REQUEST");
  for (const auto& [key, value] : span.attributes)
    EXPECT_THAT(Attribute(span, key), Not(::testing::HasSubstr("SECRET")));
}

TEST(TracerTest, WhoEndsEarlyHasThePhasesThatItReached) {
  CallOutcome outcome = Answer();
  outcome.first_update = absl::InfiniteFuture();
  outcome.times = {};
  EXPECT_THAT(NamesOf(SpansOf(Traced(), outcome)), ElementsAre("chat demo", "queue"));
  outcome.times.started = kArrival + absl::Seconds(1);
  const std::vector<Span> spans = SpansOf(Traced(), outcome);
  EXPECT_THAT(NamesOf(spans), ElementsAre("chat demo", "queue", "prefill"));
  EXPECT_EQ(spans[2].end, kWallEnd) << "it ended with the request";
}

TEST(TracerTest, TheCallerDecidesAndElseTheRatio) {
  Kept kept;
  const Tracer all(&kept, 1), none(&kept, 0), half(&kept, 0.5);
  TraceContext sampled = {.trace_id = kTraceId, .parent_id = kParentId, .sampled = true};
  none.Begin(&sampled);
  EXPECT_EQ(sampled.span_id.size(), 16u);
  EXPECT_EQ(sampled.trace_id, kTraceId);
  TraceContext unsampled = {.trace_id = kTraceId, .parent_id = kParentId};
  all.Begin(&unsampled);
  EXPECT_EQ(unsampled.span_id, "");
  TraceContext own;
  all.Begin(&own);
  EXPECT_EQ(own.trace_id.size(), 32u);
  EXPECT_EQ(own.span_id.size(), 16u);
  EXPECT_EQ(own.parent_id, "");
  int traced = 0;
  for (int i = 0; i < 1000; ++i) {
    TraceContext no, maybe;
    none.Begin(&no);
    EXPECT_EQ(no.trace_id, "");
    half.Begin(&maybe);
    traced += maybe.span_id.empty() ? 0 : 1;
  }
  EXPECT_GT(traced, 350);
  EXPECT_LT(traced, 650);
  CallInfo untraced = Traced();
  untraced.trace = unsampled;
  all.End(untraced, Answer(), kArrival + absl::Seconds(10), kWallEnd);
  EXPECT_TRUE(kept.spans.empty());
}

}  // namespace
}  // namespace hadal::service
