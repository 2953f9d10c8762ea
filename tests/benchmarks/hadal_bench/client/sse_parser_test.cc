// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/sse_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace hadal::bench {
namespace {

std::vector<std::string> ParseIn(const std::vector<std::string_view>& parts) {
  SseParser parser;
  std::vector<std::string> events;
  for (const std::string_view part : parts) {
    EXPECT_TRUE(parser.Feed(part, [&](std::string_view data) { events.emplace_back(data); }).ok());
  }
  EXPECT_FALSE(parser.in_event());
  return events;
}

TEST(SseParserTest, EverySplitGivesTheSameEvents) {
  const std::string stream =
      ": keep-alive\n\ndata: {\"a\": 1}\n\nevent: x\r\nid: 4\r\ndata:two\r\ndata:  lines\r\n\r\ndata: cr\rdata: "
      "only\r\rdata\n\ndata: [DONE]\n\n";
  const std::vector<std::string> expected = {"{\"a\": 1}", "two\n lines", "cr\nonly", "", "[DONE]"};
  const std::string_view all = stream;
  EXPECT_EQ(ParseIn({all}), expected);
  for (size_t i = 0; i <= all.size(); ++i) {
    for (size_t j = i; j <= all.size(); ++j) {
      ASSERT_EQ(ParseIn({all.substr(0, i), all.substr(i, j - i), all.substr(j)}), expected) << i << " " << j;
    }
  }
}

TEST(SseParserTest, NamesErrorEvents) {
  SseParser parser;
  std::vector<std::string> events;
  EXPECT_TRUE(
      parser
          .Feed("event: error\ndata: one\n\ndata: two\n\nerror: {\"three\": 3}\n\nevent:x\ndata: four\n\n",
                [&](std::string_view data) { events.push_back(std::string(parser.event()) + "=" + std::string(data)); })
          .ok());
  EXPECT_THAT(events, testing::ElementsAre("error=one", "=two", "error={\"three\": 3}", "x=four"));
}

TEST(SseParserTest, KnowsThatAnEventWasCut) {
  SseParser parser;
  const auto ignore = [](std::string_view) {};
  EXPECT_TRUE(parser.Feed("data: {\"cut\"", ignore).ok());
  EXPECT_TRUE(parser.in_event());
}

TEST(SseParserTest, RefusesAnEventWithoutEnd) {
  SseParser parser;
  const std::string much(1 << 20, 'x');
  absl::Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = parser.Feed(much, [](std::string_view) {});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace hadal::bench
