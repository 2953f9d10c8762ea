// SPDX-License-Identifier: Apache-2.0
// The law of OutputParser on real-shaped outputs: any cut of the text gives what the uncut text gives.
#include "tests/models/chat/output_corpus.h"

#include <set>

namespace hadal::chat {
namespace {

TEST(OutputCorpusTest, ParsesUncutText) {
  const std::vector<CorpusCase> cases = ReadCorpus();
  ASSERT_GE(cases.size(), 60u);
  std::set<std::string> names;
  for (const CorpusCase& c : cases) {
    EXPECT_EQ(ParseOutput(c.options, {c.text}), c.expected) << c.name;
    EXPECT_TRUE(names.insert(c.name).second) << c.name << " is there twice";
  }
}

TEST(OutputCorpusTest, EveryCutInTwoGivesTheUncutResult) {
  for (const CorpusCase& c : ReadCorpus()) {
    const std::string_view text = c.text;
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      ASSERT_EQ(ParseOutput(c.options, {text.substr(0, cut), text.substr(cut)}), c.expected) << c.name << " at " << cut;
    }
  }
}

TEST(OutputCorpusTest, SingleBytesAndRandomCutsGiveTheUncutResult) {
  std::mt19937 random(7);
  for (const CorpusCase& c : ReadCorpus()) {
    for (int round = 0; round < 60; ++round) {
      const size_t longest = round == 0 ? 1 : 1 + random() % 24;
      ASSERT_EQ(ParseOutput(c.options, RandomChunks(c.text, longest, &random)), c.expected) << c.name << " " << round;
    }
  }
}

// Whatever a model wrote well arrives as one JSON object.
TEST(OutputCorpusTest, ArgumentsAreJsonUnlessTheModelsWereNot) {
  for (const CorpusCase& c : ReadCorpus()) {
    bool all_json = true;
    for (const auto& [name, arguments] : ParseOutput(c.options, {c.text}).calls) {
      all_json = all_json && nlohmann::json::accept(arguments) && nlohmann::json::parse(arguments).is_object();
    }
    EXPECT_EQ(all_json, !c.broken_arguments) << c.name;
  }
}

// Every beginning of an output is an output that was cut off: the same law holds for it, and what it gives of each part
// is a beginning of what the whole gives as long as the parts were decided.
TEST(OutputCorpusTest, EveryBeginningParsesTheSameHoweverCut) {
  std::mt19937 random(11);
  for (const CorpusCase& c : ReadCorpus()) {
    for (size_t size = 0; size < c.text.size(); size += 1 + random() % 5) {
      const std::string_view text = std::string_view(c.text).substr(0, size);
      const ParsedOutput whole = ParseOutput(c.options, {text});
      ASSERT_EQ(ParseOutput(c.options, RandomChunks(text, 1, &random)), whole) << c.name << " of " << size;
      ASSERT_EQ(ParseOutput(c.options, RandomChunks(text, 9, &random)), whole) << c.name << " of " << size;
    }
  }
}

// The name comes once and first, and free text is passed on while it is written.
TEST(OutputCorpusTest, StreamsStringValuesPiecewise) {
  OutputParser parser({.tool_syntax = ToolSyntax::kDsmlV4});
  EXPECT_EQ(parser.Push("Sure.").content, "Sure.");
  EXPECT_TRUE(parser.Push("\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"write\">\n").empty());
  ParsedDelta delta = parser.Push("<｜DSML｜parameter name=\"text\" string=\"true\">");
  ASSERT_EQ(delta.tool_calls.size(), 1u);
  EXPECT_EQ(delta.tool_calls[0].name, "write");
  EXPECT_EQ(delta.tool_calls[0].arguments, "{\"text\": \"");
  delta = parser.Push("say \"hi\"\n<");
  ASSERT_EQ(delta.tool_calls.size(), 1u);
  EXPECT_EQ(delta.tool_calls[0].name, "");
  EXPECT_EQ(delta.tool_calls[0].arguments, "say \\\"hi\\\"\\n");
  EXPECT_EQ(parser.Push("b").tool_calls[0].arguments, "<b");
  EXPECT_EQ(parser.Push("</｜DSML｜parameter>").tool_calls[0].arguments, "\"");
  // Other values come complete.
  delta = parser.Push("\n<｜DSML｜parameter name=\"n\" string=\"false\">12");
  EXPECT_EQ(delta.tool_calls[0].arguments, ", \"n\": ");
  EXPECT_TRUE(parser.Push("3").empty());
  EXPECT_EQ(parser.Push("</｜DSML｜parameter>").tool_calls[0].arguments, "123");
  EXPECT_EQ(parser.Push("\n</｜DSML｜invoke>").tool_calls[0].arguments, "}");
  EXPECT_TRUE(parser.Push("\n</｜DSML｜tool_calls>").empty());
  EXPECT_TRUE(parser.Finish().empty());
}

// Text is passed on while it is written; what belongs to the closing tag is not.
TEST(OutputCorpusTest, StreamsTextOfUntypedParametersPiecewise) {
  OutputParser parser({.tool_syntax = ToolSyntax::kQwenXml, .parameter_types = CorpusTypes()});
  EXPECT_TRUE(parser.Push("<tool_call>\n<function=write>\n").empty());
  ParsedDelta delta = parser.Push("<parameter=text>\nfirst\n");
  ASSERT_EQ(delta.tool_calls.size(), 1u);
  EXPECT_EQ(delta.tool_calls[0].name, "write");
  EXPECT_EQ(delta.tool_calls[0].arguments, "{\"text\": \"first");
  EXPECT_EQ(parser.Push("second").tool_calls[0].arguments, "\\nsecond");
  EXPECT_TRUE(parser.Push("\n</parameter").empty());
  EXPECT_EQ(parser.Push(">\n").tool_calls[0].arguments, "\"");
  // Other values come complete.
  EXPECT_EQ(parser.Push("<parameter=tags>\n[1,").tool_calls[0].arguments, ", \"tags\": ");
  EXPECT_TRUE(parser.Push(" 2]").empty());
  EXPECT_EQ(parser.Push("\n</parameter>").tool_calls[0].arguments, "[1, 2]");
  EXPECT_EQ(parser.Push("</function></tool_call>").tool_calls[0].arguments, "}");
  EXPECT_TRUE(parser.Finish().empty());
}

// An answer in JSON is no call, and does not wait for its end to show that.
TEST(OutputCorpusTest, StreamsJsonThatIsNoCall) {
  OutputParser parser({.tool_syntax = ToolSyntax::kLlama3});
  EXPECT_TRUE(parser.Push("{\"").empty());
  EXPECT_EQ(parser.Push("city\": ").content, "{\"city\": ");
  EXPECT_EQ(parser.Push("1").content, "1");
  EXPECT_EQ(parser.broken_block_count(), 0);
}

TEST(OutputCorpusTest, ManySmallPushesStayLinear) {
  const std::string call = "<｜DSML｜tool_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\" string=";
  for (const char* value : {"\"true\">", "\"false\">["}) {
    OutputParser parser({.tool_syntax = ToolSyntax::kDsmlV4});
    ParsedOutput result;
    result.Add(parser.Push(call + value));
    for (int i = 0; i < 200000; ++i) result.Add(parser.Push("1,"));
    result.Add(parser.Push("</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜tool_calls>"));
    ASSERT_EQ(result.calls.size(), 1u);
    EXPECT_GT(result.calls[0].second.size(), 400000u);
  }
  for (const auto& [syntax, begin] : {std::pair{ToolSyntax::kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": ["},
                                      std::pair{ToolSyntax::kLlama3, "{\"name\": \"f\", \"parameters\": ["},
                                      std::pair{ToolSyntax::kQwenXml, "<function=write><parameter=tags>["}}) {
    OutputParser parser({.tool_syntax = syntax, .parameter_types = CorpusTypes()});
    parser.Push(begin);
    for (int i = 0; i < 200000; ++i) parser.Push("1,");
    const char* end = syntax == ToolSyntax::kQwenXml ? "1]</parameter>" : "1]}</tool_call>";
    EXPECT_FALSE(parser.Push(end).tool_calls.empty());
    EXPECT_EQ(parser.tool_call_count(), 1);
  }
}

}  // namespace
}  // namespace hadal::chat
