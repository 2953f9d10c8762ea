// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/server_state.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace hadal::top {
namespace {

Scrape At(int seconds, const std::string& text) {
  return Scrape::Parse(text, absl::UnixEpoch() + absl::Seconds(1000 + seconds));
}

TEST(ServerStateTest, NumbersComeFromLevelsAndGrowth) {
  const Scrape before = At(0,
                           "hadal_generation_tokens_total 100\nhadal_goodput_tokens_total{class=\"low\"} 40\n"
                           "hadal_admission_rejections_total{reason=\"A\"} 7\n"
                           "hadal_finished_choices_total{finished_reason=\"stop\"} 10\n"
                           "hadal_retry_after_seconds_count 7\nhadal_retry_after_seconds_sum 7\n");
  const Scrape now =
      At(2,
         "hadal_ready 1\nhadal_draining 0\nhadal_build_info{version=\"0.1.0\"} 1\n"
         "hadal_model_info{model=\"m\",family=\"f\",dtype=\"d\",device=\"cpu\"} 1\n"
         "hadal_requests_running 3\nhadal_requests_waiting 4\nhadal_kv_cache_usage_ratio 0.25\n"
         "hadal_queue_depth{class=\"normal\"} 4\nhadal_predicted_wait_seconds{class=\"batch\"} 1.5\n"
         "hadal_goodput_tokens_total{class=\"low\"} 60\nhadal_goodput_tokens_total{class=\"high\"} 80\n"
         "hadal_prompt_tokens_total 20\nhadal_offered_load_ratio 3.5\n"
         "hadal_generation_tokens_total 300\nhadal_admission_rejections_total{reason=\"A\"} 7\n"
         "hadal_admission_rejections_total{reason=\"B\"} 4\nhadal_admission_rejections_total{reason=\"C\"} 0\n"
         "hadal_finished_choices_total{finished_reason=\"stop\"} 16\n"
         "hadal_finished_choices_total{finished_reason=\"error\"} 1\n"
         "hadal_retry_after_seconds_count 11\nhadal_retry_after_seconds_sum 17\n");
  const ServerNumbers numbers = NumbersOf(before, before, now);
  EXPECT_EQ(numbers.state, "ready");
  EXPECT_EQ(numbers.about, "hadal 0.1.0, m (f, d, cpu)");
  EXPECT_EQ(numbers.running, 3);
  EXPECT_EQ(numbers.waiting, 4);
  EXPECT_EQ(numbers.kv_ratio, 0.25);
  EXPECT_EQ(numbers.generated_tokens, 100);
  EXPECT_EQ(numbers.refused, 2);
  EXPECT_EQ(numbers.offered_load, 3.5);
  EXPECT_EQ(numbers.good_tokens, 50);
  EXPECT_EQ(numbers.all_tokens, 110);
  EXPECT_EQ(numbers.retry_after_s, 2.5);
  EXPECT_EQ(numbers.ttft_p50_s, std::nullopt);
  EXPECT_EQ(numbers.class_waiting[1], 4);
  EXPECT_EQ(numbers.class_wait_s[3], 1.5);
  EXPECT_EQ(numbers.ended, (std::array<double, kEnds.size()>{3, 0, 0, 0.5}));
  EXPECT_EQ(NumbersOf(now, now, now).ended, (std::array<double, kEnds.size()>{}));
  ASSERT_EQ(numbers.refusals.size(), 2u);
  EXPECT_EQ(numbers.refusals[0].reason, "B");
  EXPECT_EQ(numbers.refusals[0].rate, 2);
  EXPECT_EQ(numbers.refusals[1].total, 7);
}

TEST(ServerStateTest, AServerIsLoadingReadyOrDraining) {
  const auto state = [](const std::string& text) { return NumbersOf(At(0, text), At(0, text), At(0, text)).state; };
  EXPECT_EQ(state("hadal_ready 0\nhadal_model_load_progress_ratio 0.426\n"), "load 43%");
  EXPECT_EQ(state("hadal_ready 1\n"), "ready");
  EXPECT_EQ(state("hadal_ready 0\nhadal_draining 1\nhadal_model_load_progress_ratio 1\n"), "draining");
}

TEST(ServerStateTest, TargetsNameHostAndPort) {
  const auto expect = [](const std::string& text, const std::string& host, const std::string& port,
                         const std::string& shown) {
    const absl::StatusOr<Target> target = ParseTarget(text, /*tls=*/false);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(target->tls, text.starts_with("https://"));
    EXPECT_EQ(target->host, host);
    EXPECT_EQ(target->port, port);
    EXPECT_EQ(target->text, shown);
  };
  expect("host:81", "host", "81", "host:81");
  expect("host", "host", "8000", "host:8000");
  expect("[::1]:81", "::1", "81", "[::1]:81");
  expect("[::1]", "::1", "8000", "[::1]:8000");
  expect("::1", "::1", "8000", "[::1]:8000");
  expect("http://host", "host", "80", "host:80");
  expect("https://host/", "host", "443", "host:443");
  expect("https://[::1]:81", "::1", "81", "[::1]:81");
}

TEST(ServerStateTest, ASchemeGoesBeforeTheFlag) {
  EXPECT_TRUE(ParseTarget("host", /*tls=*/true)->tls);
  EXPECT_FALSE(ParseTarget("http://host", /*tls=*/true)->tls);
  EXPECT_TRUE(ParseTarget("https://host", /*tls=*/false)->tls);
}

TEST(ServerStateTest, ABrokenTargetIsNamed) {
  for (const std::string text : {"", ":81", "host:", "host:http", "host:0", "host:65536", "[::1", "[::1]81", "[]:81",
                                 "https://", "https://host/v1", "ftp://host"}) {
    EXPECT_NE(ParseTarget(text, false).status().message().find("'" + text + "'"), absl::string_view::npos) << text;
  }
}

TEST(ServerStateTest, WhoDoesNotAnswerIsAwayWithTheReason) {
  Server server(ParseTarget("127.0.0.1:1", false).value(), commands::TlsTrust::Everybody());
  EXPECT_FALSE(server.Row().asked);
  server.Poll(absl::Seconds(5));
  const ServerRow row = server.Row();
  EXPECT_TRUE(row.asked);
  EXPECT_EQ(row.error, "Connection refused");
  EXPECT_FALSE(row.numbers.has_value());
  server.Poll(absl::Seconds(5));
  EXPECT_EQ(server.Row().away_since, row.away_since);
}

}  // namespace
}  // namespace hadal::top
