// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace hadal::top {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

const absl::Time kNow = absl::UnixEpoch() + absl::Seconds(1000);

ServerRow Answering(const std::string& name) {
  ServerNumbers numbers;
  numbers.state = "ready";
  numbers.about = "hadal 0.1.0, deepseek-v3 (deepseek_v3, bfloat16, cuda:0)";
  numbers.running = 256;
  numbers.waiting = 512;
  numbers.kv_ratio = 1;
  numbers.generated_tokens = 123456;
  numbers.prompt_tokens = 9999999;
  numbers.refused = 12345.6;
  numbers.retry_after_s = 29.96;
  numbers.ttft_p50_s = 0.0381;
  numbers.step_tokens = 12345;
  numbers.step_s = 0.38;
  numbers.offered_load = 123;
  numbers.good_tokens = 98765;
  numbers.all_tokens = 123456;
  numbers.ended = {12000.6, 0.25, 0, 9999};
  numbers.refusals = {{"CONNECTION_QUEUE_FULL", 12000.6, 4e9}, {"WAIT_LIMIT", 0.25, 17}};
  return {name, true, "", absl::InfinitePast(), numbers};
}

ServerRow Away(const std::string& name) { return {name, true, "Connection refused", kNow - absl::Seconds(12), {}}; }

std::string TextOf(const std::vector<Line>& lines) {
  std::string text;
  for (const Line& line : lines) text += line.text + "\n";
  return text;
}

TEST(ViewTest, ARowHasTheNumbersUnderItsHeading) {
  const std::vector<Line> lines = Render({Answering("127.0.0.1:8000")}, kNow, {});
  EXPECT_EQ(lines[2].text, "SERVER         STATE    BATCH QUEUE    KV  OUT/S   IN/S REF/S RETRY  TTFT");
  EXPECT_EQ(lines[3].text, "127.0.0.1:8000 ready      256   512  100%   123k  10.0M 12.3k   30s  38ms");
  EXPECT_THAT(TextOf(lines), HasSubstr("12.0k/s  CONNECTION_QUEUE_FULL"));
  EXPECT_EQ(lines[7].text, "  step     12.3k tokens in 380ms; load 12.3k%; in time 98.8k of 123k/s");
  EXPECT_EQ(lines[9].text, "  ended    stop 12.0k/s, length 0.2/s, abort 0/s, error 9999/s");
}

TEST(ViewTest, ALoadThatIsNotKnownYetIsADash) {
  ServerRow row = Answering("a:1");
  row.numbers->offered_load = row.numbers->good_tokens = row.numbers->all_tokens = 0;
  row.numbers->step_tokens = row.numbers->step_s = std::nullopt;
  EXPECT_EQ(Render({row}, kNow, {})[7].text, "  step     - tokens in -; load -; in time 0 of 0/s");
}

TEST(ViewTest, EightyColumnsHoldTheWidestNumbers) {
  ServerRow row = Answering("a-pod-with-a-long-name-7d9f8c5b6-x2x4q.hadal.svc.cluster.local:8000");
  row.numbers->class_waiting = {9999, 9999, 9999, 9999};
  row.numbers->class_wait_s = {99, 99, 99, 99};
  for (const Line& line : Render({row}, kNow, {.columns = 80, .lines = 100}))
    EXPECT_LE(line.text.size(), 80u) << line.text;
  EXPECT_THAT(Render({row}, kNow, {})[3].text, HasSubstr("...cluster.local:8000 ready ")) << "the end tells pods apart";
  EXPECT_THAT(Render({row}, kNow, {})[3].text, EndsWith(" 38ms"));
}

TEST(ViewTest, AServerThatIsAwayIsSaidSoInRed) {
  const std::vector<Line> lines = Render({Answering("a:1"), Away("b:2")}, kNow, {});
  EXPECT_THAT(lines[0].text, HasSubstr("2 servers, 1 away"));
  EXPECT_EQ(lines[4].text, "b:2      AWAY     for 12s: Connection refused");
  EXPECT_EQ(lines[4].style, Line::Style::kAlarm);
}

TEST(ViewTest, FitsEveryWindow) {
  std::vector<ServerRow> rows;
  for (int i = 0; i < 30; ++i) rows.push_back(i % 3 == 0 ? Away("b:2") : Answering("a:1"));
  for (int columns : {1, 7, 40, 79, 80, 200}) {
    for (int lines : {1, 2, 5, 24, 50, 500}) {
      const std::vector<Line> picture = Render(rows, kNow, {columns, lines});
      EXPECT_LE(picture.size(), static_cast<size_t>(lines));
      for (const Line& line : picture) EXPECT_LE(line.text.size(), static_cast<size_t>(columns));
    }
  }
  EXPECT_THAT(Render(rows, kNow, {80, 24}).back().text, HasSubstr("... 10 more lines"));
}

TEST(ViewTest, WhatServersSayCannotDriveTheTerminal) {
  ServerRow row = Answering("a:1");
  row.numbers->about = "evil \033[2J model\n";
  for (const Line& line : Render({row}, kNow, {})) {
    for (const char c : line.text) EXPECT_TRUE(c >= ' ' && c <= '~') << line.text;
  }
}

TEST(ViewTest, CountsAndTimesStayShort) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(3.14), "3.1");
  EXPECT_EQ(CountText(9.99), "10");
  EXPECT_EQ(CountText(9999), "9999");
  EXPECT_EQ(CountText(99960), "100k");
  EXPECT_EQ(CountText(999600), "1.0M");
  EXPECT_EQ(TimeText(0), "0s");
  EXPECT_EQ(TimeText(0.00042), "0.4ms");
  EXPECT_EQ(TimeText(0.9996), "1.0s");
  EXPECT_EQ(TimeText(99.7), "2m");
  EXPECT_EQ(TimeText(86400), "24h");
  for (double value = 1e-4; value < 1e12; value *= 1.37) {
    EXPECT_LE(CountText(value).size(), 5u) << value;
    EXPECT_LE(TimeText(std::min(value, 3e8)).size(), 6u) << value;
  }
}

}  // namespace
}  // namespace hadal::top
