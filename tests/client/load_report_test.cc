// SPDX-License-Identifier: Apache-2.0
#include "client/load_report.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "client/client.h"
#include "tests/client/scripted_server.h"

namespace hadal::client {
namespace {

std::string Metric(const std::string& name, double value) {
  std::string entry = "\n" + std::string(1, static_cast<char>(name.size())) + name + "\x11";
  entry.append(reinterpret_cast<const char*>(&value), sizeof(value));
  return "B" + std::string(1, static_cast<char>(entry.size())) + entry;
}

std::optional<double> RequestsIn(const std::string& report) {
  return RequestsOfReport("BIN " + absl::Base64Escape(report));
}

TEST(LoadReportTest, CountsTheRequestsThatAServerHas) {
  EXPECT_EQ(RequestsIn(Metric("num_requests_running", 3) + Metric("num_requests_waiting", 4)), 7);
  EXPECT_EQ(RequestsIn(Metric("num_requests_waiting", 0)), 0);
  EXPECT_GE(*RequestsIn(Metric("num_requests_waiting", 0) + Metric("not_ready", 1)), kUnfit);
  // What a backend of grpc-go sent has other metrics and fields.
  std::string golden;
  ASSERT_TRUE(absl::Base64Unescape("CQAAAAAAAOA/MQAAAAAAAFlAOQAAAAAAAABAQg4KA3JpZhEAAAAAAAAQQA==", &golden));
  EXPECT_EQ(RequestsIn(golden), std::nullopt) << "it counts no requests";
  EXPECT_EQ(RequestsIn(golden + Metric("num_requests_running", 2)), 2);
}

TEST(LoadReportTest, WhatIsNoReportIsNone) {
  const std::string whole = Metric("num_requests_running", 3);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(RequestsIn(whole.substr(0, size)), std::nullopt) << size;
  }
  EXPECT_EQ(RequestsIn(whole + "\xff"), std::nullopt);
  EXPECT_EQ(RequestsIn(Metric("num_requests_running", -3)), std::nullopt);
  EXPECT_EQ(RequestsIn(Metric("num_requests_running", std::numeric_limits<double>::quiet_NaN())), std::nullopt);
  for (const std::string& other : {std::string(), std::string("BIN"), std::string("BIN =x="),
                                   "TEXT " + absl::Base64Escape(whole), std::string("JSON {}")}) {
    EXPECT_EQ(RequestsOfReport(other), std::nullopt) << other;
  }
}

TEST(LoadReportTest, CallsGoWhereTheLastAnswersSaidThatThereIsLess) {
  ScriptedServer first(0, ""), second(0, "");
  first.OnlyReport();
  second.OnlyReport();
  first.SetWaiting(100);
  const auto client = *Client::Connect({.targets = {first.target(), second.target()}});
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_LE(first.calls(), 1) << "it was asked before it had said anything, and then no more";
  first.SetWaiting(0);
  second.SetWaiting(1000);
  const int before = first.calls();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_GE(first.calls() - before, 39) << "one answer of the second told";
}

TEST(LoadReportTest, OneServerIsNotAskedForReports) {
  ScriptedServer server(0, "");
  server.OnlyReport();
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.last_metadata().count("endpoint-load-metrics-format"), 0u);
  EXPECT_EQ(server.load_questions(), 0);
}

TEST(LoadReportTest, OnlyThoseThatAreIdleAreAskedForTheirLoad) {
  ScriptedServer busy(0, ""), idle(0, "");
  busy.OnlyReport();
  idle.SetWaiting(1000);
  const auto client = *Client::Connect({.targets = {busy.target(), idle.target()}});
  ASSERT_TRUE(client->GetLoad(absl::Seconds(30)).ok());
  const int before = busy.load_questions(), before_idle = idle.load_questions();
  const absl::Time start = absl::Now();
  while (idle.load_questions() < before_idle + 3 && absl::Now() - start < absl::Seconds(60)) {
    ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_GE(idle.load_questions(), before_idle + 3);
  EXPECT_LE(busy.load_questions() - before, 2) << "its answers say it; at first it had given none";
  EXPECT_EQ(idle.calls(), 0);
}

TEST(LoadReportTest, AServerThatDoesNotSayItsLoadIsTheLastResort) {
  ScriptedServer mute(0, ""), other(0, "");
  mute.SetMute(true);
  other.SetWaiting(1000);
  const auto client = *Client::Connect({.targets = {mute.target(), other.target()}});
  const absl::Time start = absl::Now();
  int in_a_row = 0;
  while (in_a_row < 20 && absl::Now() - start < absl::Seconds(60)) {
    const int before = other.calls();
    ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
    in_a_row = other.calls() > before ? in_a_row + 1 : 0;
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_EQ(in_a_row, 20);
  mute.SetMute(false);
}

}  // namespace
}  // namespace hadal::client
