// SPDX-License-Identifier: Apache-2.0
// What a router in front asks for and gets with each response: the load, and the session's headers.
#include <string>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::ServiceFixture;

TEST(ConnectionHeadTest, TheLoadIsReportedWhenAskedFor) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const auto report = [&](std::string_view body, const std::string& headers) {
    return fixture.Do("POST", kChat, body, headers).Header("endpoint-load-metrics");
  };
  EXPECT_EQ(report(kAsk, ""), "");
  EXPECT_EQ(report(kAsk, "endpoint-load-metrics-format: xml\r\n"), "");
  EXPECT_EQ(report(kAsk, "endpoint-load-metrics-format: text\r\n").substr(0, 21), "TEXT mem_utilization=");
  EXPECT_EQ(report(kAsk, "Endpoint-Load-Metrics-Format: BIN\r\n").substr(0, 4), "BIN ");
  const std::string json =
      report(R"({"messages":[{"role":"user","content":"x"}],"stream":true})", "endpoint-load-metrics-format: JSON\r\n");
  ASSERT_EQ(json.substr(0, 5), "JSON ");
  const auto parsed = nlohmann::json::parse(json.substr(5));
  EXPECT_GT(parsed["rps_fractional"].get<double>(), 0);
  EXPECT_TRUE(parsed["named_metrics"].contains("num_requests_waiting"));
}

TEST(ConnectionHeadTest, ARefusalReportsTheLoadAndCountsAsAnError) {
  HttpFixture::Options options;
  options.service.ready = false;
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  fixture.Do("POST", kChat, kAsk);
  const HttpReply reply = fixture.Do("POST", kChat, kAsk, "endpoint-load-metrics-format: json\r\n");
  ASSERT_EQ(reply.status, 503);
  const auto report = nlohmann::json::parse(reply.Header("endpoint-load-metrics").substr(5));
  EXPECT_GT(report["eps"].get<double>(), 0);
  EXPECT_EQ(report["rps_fractional"].get<double>(), 0);
  EXPECT_GE(report["application_utilization"].get<double>(), 1);
}

TEST(ConnectionHeadTest, SessionHeadersComeBack) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  HttpReply reply = fixture.Do("POST", kChat, kAsk, "X-Session-ID: s-1\r\nx-llm-d-inference-fairness-id: team a\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Header("x-session-id"), "s-1");
  EXPECT_EQ(reply.Header("x-llm-d-inference-fairness-id"), "") << "a value with a space is not given back";
  EXPECT_EQ(reply.Header("session-id"), "");
  reply = fixture.Do("POST", kChat, "{",
                     "session-id: " + std::string(256, 'a') + "\r\nx-session-token: " + std::string(257, 'b') + "\r\n");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.Header("session-id"), std::string(256, 'a'));
  EXPECT_EQ(reply.Header("x-session-token"), "");
}

}  // namespace
}  // namespace hadal::http
