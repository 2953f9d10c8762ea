// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/slo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

RequestRecord Served(double scheduled_s, double due_s, double first_s, double end_s, int tokens) {
  RequestRecord record;
  record.scheduled_s = scheduled_s;
  record.attempts.push_back({.due_s = due_s, .start_s = due_s, .end_s = end_s, .end = CallEnd::kServed});
  record.outcome = Outcome::kServed;
  record.first_content_s = first_s;
  record.end_s = end_s;
  record.completion_tokens = tokens;
  return record;
}

TEST(SloTest, KnowsMlperfsSetsAndLimits) {
  EXPECT_DOUBLE_EQ(ParseSlo("r1")->tpot_s, 0.080);
  EXPECT_EQ(ParseSlo("8b-interactive")->Text(), "8b-interactive (TTFT 500 ms, TPOT 30 ms)");
  const auto custom = ParseSlo("ttft=1500,e2e=30000");
  ASSERT_TRUE(custom.ok()) << custom.status();
  EXPECT_EQ(custom->Text(), "custom (TTFT 1500 ms, E2E 30000 ms)");
  for (const char* text : {"", "r2", "ttft", "ttft=", "ttft=0", "ttft=-1", "xx=3", "ttft=1,,"}) {
    EXPECT_THAT(std::string(ParseSlo(text).status().message()), testing::HasSubstr("r1-interactive")) << text;
  }
}

TEST(SloTest, CountsFromTheScheduleOrTheAttempt) {
  const Slo slo = *ParseSlo("ttft=1000,tpot=100");
  EXPECT_TRUE(slo.Met(Served(10, 10, 10.9, 11.9, 11), false));
  EXPECT_FALSE(slo.Met(Served(10, 10, 11.1, 11.9, 11), false));
  EXPECT_FALSE(slo.Met(Served(10, 10, 10.9, 12.0, 11), false));  // 110 ms a token
  const RequestRecord second_attempt = Served(10, 15, 15.5, 16, 11);
  EXPECT_FALSE(slo.Met(second_attempt, false));
  EXPECT_TRUE(slo.Met(second_attempt, true));
  EXPECT_TRUE(slo.Met(Served(10, 10, 10.5, 99, 1), false));  // one token has no time per later token
  RequestRecord refused = Served(10, 10, 10.1, 10.2, 5);
  refused.outcome = Outcome::kRefused;
  EXPECT_FALSE(slo.Met(refused, false));
}

}  // namespace
}  // namespace hadal::bench
