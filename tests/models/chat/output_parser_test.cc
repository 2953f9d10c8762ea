// SPDX-License-Identifier: Apache-2.0
#include "models/chat/output_parser.h"

#include "tests/models/chat/output_corpus.h"

namespace hadal::chat {
namespace {

struct Case {
  std::string name;
  OutputParser::Options options;
  std::string text;
  ParsedOutput expected;
};

constexpr OutputParser::Options kR1{.starts_in_reasoning = true, .tool_syntax = ToolSyntax::kDeepSeekV3};
constexpr OutputParser::Options kV3{.tool_syntax = ToolSyntax::kDeepSeekV3};
constexpr OutputParser::Options kV31{.tool_syntax = ToolSyntax::kDeepSeekV31};

std::vector<Case> Cases() {
  const std::string calls = "<｜tool▁calls▁begin｜>", calls_end = "<｜tool▁calls▁end｜>";
  const std::string call = "<｜tool▁call▁begin｜>", call_end = "<｜tool▁call▁end｜>", sep = "<｜tool▁sep｜>";
  const std::string weather = call + "function" + sep + "get_weather\n```json\n{\"city\": \"北京\"}\n```" + call_end;
  const std::string now = call + "now" + sep + "{}" + call_end;
  return {
      {"Plain", kV3, "Hello <b>", {"", "Hello <b>", {}}},
      {"Empty", kV3, "", {}},
      {"ReasoningOpen", kR1, "a < b\n\n</think>\n\nHello.\n", {"a < b", "Hello.\n", {}}},
      {"ReasoningUnclosed", kR1, "thinking\n</thin", {"thinking\n</thin", "", {}}},
      {"ReasoningNewlinesInside", kR1, "\n\na\n\n\nb\n\n", {"a\n\n\nb\n\n", "", {}}},
      {"ReasoningContinued",
       {.starts_in_reasoning = true, .continues_reasoning = true},
       "\n\nb\n</think>\nc",
       {"\n\nb", "c", {}}},
      {"ReasoningContinuedToItsEnd",
       {.starts_in_reasoning = true, .continues_reasoning = true},
       "\n</think>c",
       {"", "c", {}}},
      {"ReasoningEmpty", kR1, "\n</think>\n\n", {}},
      {"ReasoningByModel", kV3, " \n<think>\nhm</think>yes</think>", {"hm", "yes</think>", {}}},
      {"ThinkInTheMiddleIsText", kV3, "Use <think> tags", {"", "Use <think> tags", {}}},
      {"SpacesFirst", kV3, "  \n <thin", {"", "  \n <thin", {}}},
      {"ManySpacesFirst", kV3, std::string(200, '\n') + "<think>a", {"", std::string(200, '\n') + "<think>a", {}}},
      {"NoTrim", {.starts_in_reasoning = true, .trim_newlines = false}, "\na\n</think>\n\nb", {"\na\n", "\n\nb", {}}},
      {"NoSplit", {.starts_in_reasoning = true, .split_reasoning = false}, "a</think>b", {"", "a</think>b", {}}},
      {"V3Call", kV3, "Sure." + calls + weather + calls_end, {"", "Sure.", {{"get_weather", "{\"city\": \"北京\"}"}}}},
      {"V3TwoCalls",
       kR1,
       "t</think>" + calls + weather + "\n" + weather + calls_end + "\n",
       {"t", "\n", {{"get_weather", "{\"city\": \"北京\"}"}, {"get_weather", "{\"city\": \"北京\"}"}}}},
      {"V3FenceInside",
       kV3,
       calls + call + "function" + sep + "f\n```json\n{\"a\": \"\n```x\n```\"}\n```" + call_end + calls_end,
       {"", "", {{"f", "{\"a\": \"\n```x\n```\"}"}}}},
      {"V3NoFenceEnd",
       kV3,
       calls + call + "function" + sep + "f\n```json\n{}" + call_end + calls_end,
       {"", "", {{"f", "{}"}}}},
      {"V3Truncated",
       kV3,
       calls + call + "function" + sep + "f\n```json\n{\"a\":\n``",
       {"", "", {{"f", "{\"a\":\n``"}}}},
      {"V3NoFence",
       kV3,
       calls + call + "function" + sep + "f {}" + call_end + calls_end,
       {"", calls + call + "function" + sep + "f {}" + call_end + calls_end, {}}},
      {"V31Call", kV31, calls + now + calls_end, {"", "", {{"now", "{}"}}}},
      {"V31TwoCalls", kV31, "x" + calls + now + now + calls_end, {"", "x", {{"now", "{}"}, {"now", "{}"}}}},
      {"V31SpaceBetween",
       kV31,
       calls + "\n " + now + "\n" + now + "\n" + calls_end,
       {"", "", {{"now", "{}"}, {"now", "{}"}}}},
      {"V31TextAfter", kV31, calls + now + "oops", {"", "oops", {{"now", "{}"}}}},
      {"V31MissingEnd", kV31, calls + now, {"", "", {{"now", "{}"}}}},
      {"V31SecondIsBroken",
       kV31,
       calls + now + call + "a\nb" + sep + "{}" + call_end,
       {"", call + "a\nb" + sep + "{}" + call_end, {{"now", "{}"}}}},
      {"V31SecondHeaderCut", kV31, calls + now + call + "no", {"", "", {{"now", "{}"}}}},
      {"V3SecondHeaderCut",
       kV3,
       calls + weather + "\n" + call + "fun",
       {"", "", {{"get_weather", "{\"city\": \"北京\"}"}}}},
      {"EmptyBlock", kV31, calls + calls_end, {"", calls + calls_end, {}}},
      {"OpenerAlone", kV31, "a" + calls + " \n", {"", "a" + calls + " \n", {}}},
      {"OpenerCut", kV31, "a" + calls.substr(0, 9), {"", "a" + calls.substr(0, 9), {}}},
      {"HeaderCut", kV31, calls + call + "no", {"", calls + call + "no", {}}},
      {"EmptyName", kV31, calls + call + sep + "{}" + call_end, {"", calls + call + sep + "{}" + call_end, {}}},
      {"LongHeader",
       kV31,
       calls + call + std::string(3000, 'n') + sep + "{}",
       {"", calls + call + std::string(3000, 'n') + sep + "{}", {}}},
      {"LongGap", kV31, calls + std::string(3000, ' ') + now, {"", calls + std::string(3000, ' ') + now, {}}},
      {"ToolsOff", {}, "x" + calls + now, {"", "x" + calls + now, {}}},
      {"CallInsideReasoning", kR1, "maybe " + calls + now + "</think>no", {"maybe " + calls + now, "no", {}}},
  };
}

TEST(OutputParserTest, ParsesUncutText) {
  for (const Case& c : Cases()) EXPECT_EQ(ParseOutput(c.options, {c.text}), c.expected) << c.name;
}

TEST(OutputParserTest, EveryCutGivesTheUncutResult) {
  for (const Case& c : Cases()) {
    for (size_t cut = 0; cut <= c.text.size(); ++cut) {
      const std::string_view text = c.text;
      ASSERT_EQ(ParseOutput(c.options, {text.substr(0, cut), text.substr(cut)}), c.expected)
          << c.name << " cut at " << cut;
    }
  }
}

TEST(OutputParserTest, SingleBytesAndRandomCutsGiveTheUncutResult) {
  std::mt19937 random(3);
  for (const Case& c : Cases()) {
    for (int round = 0; round < 50; ++round) {
      std::vector<std::string_view> chunks;
      for (size_t at = 0; at < c.text.size();) {
        const size_t size = round == 0 ? 1 : 1 + random() % 12;
        chunks.push_back(std::string_view(c.text).substr(at, size));
        at += size;
      }
      ASSERT_EQ(ParseOutput(c.options, chunks), c.expected) << c.name << " round " << round;
    }
  }
}

// Texts made of markers and noise in any order: no cut changes the result and no text is lost that is not a marker.
TEST(OutputParserTest, RandomMarkersSurviveAnyCut) {
  const std::vector<std::string> parts = {"<think>",
                                          "</think>",
                                          "<｜tool▁calls▁begin｜>",
                                          "<｜tool▁calls▁end｜>",
                                          "<｜tool▁call▁begin｜>",
                                          "<｜tool▁call▁end｜>",
                                          "<｜tool▁sep｜>",
                                          "function",
                                          "f",
                                          "\n```json\n",
                                          "\n```",
                                          "{}",
                                          "\n",
                                          " ",
                                          "<",
                                          "｜",
                                          "x",
                                          "<｜tool"};
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint32_t n = random() % 14; n > 0; --n) text += parts[random() % parts.size()];
    OutputParser::Options options;
    options.starts_in_reasoning = random() % 2;
    options.trim_newlines = random() % 2;
    options.tool_syntax = random() % 2 ? ToolSyntax::kDeepSeekV3 : ToolSyntax::kDeepSeekV31;
    const ParsedOutput whole = ParseOutput(options, {text});
    std::vector<std::string_view> bytes;
    for (size_t i = 0; i < text.size(); ++i) bytes.push_back(std::string_view(text).substr(i, 1));
    ASSERT_EQ(ParseOutput(options, bytes), whole) << text;
    const size_t cut = random() % (text.size() + 1);
    ASSERT_EQ(ParseOutput(options, {std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)}), whole)
        << text;
  }
}

TEST(OutputParserTest, StreamsWithoutHoldingOrdinaryTextBack) {
  OutputParser parser(kR1);
  EXPECT_EQ(parser.Push("think").reasoning, "think");
  EXPECT_TRUE(parser.in_reasoning());
  EXPECT_EQ(parser.Push("ing <").reasoning, "ing ");
  EXPECT_EQ(parser.Push("b").reasoning, "<b");
  EXPECT_TRUE(parser.Push("</think>").empty());
  EXPECT_FALSE(parser.in_reasoning());
  EXPECT_EQ(parser.Push("\n\nA").content, "A");
  EXPECT_TRUE(parser.Push("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f").empty());
  const ParsedDelta header = parser.Push("\n```json\n{\"a");
  ASSERT_EQ(header.tool_calls.size(), 1u);
  EXPECT_EQ(header.tool_calls[0].name, "f");
  EXPECT_EQ(header.tool_calls[0].arguments, "{\"a");
  EXPECT_EQ(parser.Push("\": 1}").tool_calls[0].arguments, "\": 1}");
}

TEST(OutputParserTest, ManySmallPushesStayLinear) {
  OutputParser parser(kR1);
  for (int i = 0; i < 300000; ++i) parser.Push("\n");
  EXPECT_EQ(parser.Push("x").reasoning, "x");
  for (int i = 0; i < 300000; ++i) parser.Push("\n");
  EXPECT_EQ(parser.Push("y").reasoning.size(), 300001u);
}

}  // namespace
}  // namespace hadal::chat
