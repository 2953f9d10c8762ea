// SPDX-License-Identifier: Apache-2.0
// Tool calls in every generation's syntax, on the demo model's tokens (which hold V3's markers, not ｜DSML｜ and not
// <tool_call>).
#include "models/grammar/tool_grammar.h"

#include <gtest/gtest.h>

#include "models/grammar/json_format.h"
#include "models/grammar/json_schema.h"

namespace hadal::grammar {
namespace {

using chat::ToolSyntax;

constexpr int32_t kEnd = 1;

class ToolGrammarTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = tokenizer::Tokenizer::Load(std::string(std::getenv("HADAL_SOURCE_DIR")) + "/models/demo");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *tokenizer;
    auto compiler = GrammarCompiler::Create(tokenizer_, 1024);
    ASSERT_TRUE(compiler.ok()) << compiler.status();
    compiler_ = *compiler;
    tools_ = {{"add", *PrepareSchema(
                          R"({"type": "object", "properties": {"a": {"type": "integer"}, "note": {"type": "string"}},
                                         "required": ["a", "note"], "additionalProperties": false})",
                          SchemaDialect::kStrictTool)},
              {"now", *PrepareSchema(R"({"type": "object", "properties": {}, "additionalProperties": false})",
                                     SchemaDialect::kStrictTool)}};
  }

  bool Accepts(ToolSyntax syntax, ToolUse use, const std::string& text, bool several = true,
               Reasoning reasoning = Reasoning::kNone) {
    return Accepts(ToolSpec(*tokenizer_, syntax, tools_, use, several, reasoning), text);
  }
  bool Accepts(const GrammarSpec& spec, const std::string& text) {
    auto grammar = compiler_->Compile(spec);
    EXPECT_TRUE(grammar.ok()) << grammar.status() << "\n" << spec.format;
    if (!grammar.ok()) return false;
    auto constraint = (*grammar)->Start();
    const auto allows = [&](int32_t token) {
      auto mask = constraint->Mask();
      EXPECT_TRUE(mask.ok()) << mask.status();
      return mask.ok() && ((**mask)[token / 32] >> (token % 32) & 1u) != 0;
    };
    const auto ids = *tokenizer_->Encode(text, {.allow_added_tokens = true});
    for (size_t i = 0; i < ids.size(); ++i) {
      reached_ = tokenizer_->Decode(absl::MakeConstSpan(ids).first(i), false);
      if (!allows(ids[i])) return false;
      EXPECT_TRUE(constraint->Accept(ids[i]).ok());
    }
    return allows(kEnd);
  }

  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::shared_ptr<const GrammarCompiler> compiler_;
  std::vector<GrammarTool> tools_;
  std::string reached_;
};

const std::string kV3Add =
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1, \"note\": \"x\"}\n```<｜tool▁call▁end｜>";
const std::string kV3Now = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜>";
const std::string kV31Add = "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1, \"note\": \"x\"}<｜tool▁call▁end｜>";
const std::string kV31Now = "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>";
const std::string kBegin = "<｜tool▁calls▁begin｜>", kClose = "<｜tool▁calls▁end｜>";

TEST_F(ToolGrammarTest, V3CallsAreFencedJson) {
  EXPECT_TRUE(Accepts(ToolSyntax::kDeepSeekV3, ToolUse::kMust, kBegin + kV3Add + kClose)) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kDeepSeekV3, ToolUse::kMust, kBegin + kV3Add + "\n" + kV3Now + kClose)) << reached_;
  EXPECT_FALSE(
      Accepts(ToolSyntax::kDeepSeekV3, ToolUse::kMust, kBegin + kV3Add + "\n" + kV3Now + kClose, /*several=*/false));
  EXPECT_FALSE(Accepts(ToolSyntax::kDeepSeekV3, ToolUse::kMust, "text " + kBegin + kV3Add + kClose));
  EXPECT_FALSE(Accepts(ToolSyntax::kDeepSeekV3, ToolUse::kMust, kBegin + kClose));
  EXPECT_FALSE(Accepts(ToolSyntax::kDeepSeekV3, ToolUse::kMust, kBegin + kV31Add + kClose));
}

TEST_F(ToolGrammarTest, V31CallsAreNameAndJson) {
  EXPECT_TRUE(Accepts(ToolSyntax::kDeepSeekV31, ToolUse::kMust, kBegin + kV31Add + kV31Now + kClose)) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kDeepSeekV31, ToolUse::kMust, "hm</think>" + kBegin + kV31Now + kClose, true,
                      Reasoning::kOpen))
      << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kDeepSeekV31, ToolUse::kMust,
                       kBegin + "<｜tool▁call▁begin｜>sub<｜tool▁sep｜>{}<｜tool▁call▁end｜>" + kClose));
  EXPECT_FALSE(Accepts(ToolSyntax::kDeepSeekV31, ToolUse::kMust,
                       kBegin + "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>" + kClose));
  EXPECT_FALSE(Accepts(ToolSyntax::kDeepSeekV31, ToolUse::kMust,
                       kBegin + "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1, \"note\": \"<｜tool▁call▁end｜>\"}"));
}

TEST_F(ToolGrammarTest, WithAutoTextIsFreeUntilABlockOpens) {
  for (const ToolSyntax syntax : {ToolSyntax::kDeepSeekV31}) {
    EXPECT_TRUE(Accepts(syntax, ToolUse::kMay, "just text {\"a\": ")) << reached_;
    EXPECT_TRUE(Accepts(syntax, ToolUse::kMay, "")) << reached_;
    EXPECT_TRUE(Accepts(syntax, ToolUse::kMay, "I ask. " + kBegin + kV31Add + kClose)) << reached_;
    EXPECT_FALSE(Accepts(syntax, ToolUse::kMay, "I ask. " + kBegin + kV31Add));
    EXPECT_FALSE(Accepts(syntax, ToolUse::kMay, kBegin + "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": \"1\""));
    EXPECT_FALSE(Accepts(syntax, ToolUse::kMay, kBegin + kV31Add + kClose + " and"));
    EXPECT_FALSE(Accepts(syntax, ToolUse::kMay, "a <｜tool▁sep｜>"));
  }
}

const std::string kDsmlAdd =
    "<｜DSML｜invoke name=\"add\">\n<｜DSML｜parameter name=\"a\" string=\"false\">1</｜DSML｜parameter>\n"
    "<｜DSML｜parameter name=\"note\" string=\"true\">free \"text\" < & "
    "{\nlines</｜DSML｜parameter>\n</｜DSML｜invoke>";
const std::string kDsmlNow = "<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>";

TEST_F(ToolGrammarTest, DsmlCallsAreOneElementAParameter) {
  const std::string open = "<｜DSML｜function_calls>\n", close = "\n</｜DSML｜function_calls>";
  EXPECT_TRUE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMust, "\n\n" + open + kDsmlAdd + close)) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMust, open + kDsmlAdd + "\n" + kDsmlNow + close)) << reached_;
  EXPECT_TRUE(
      Accepts(ToolSyntax::kDsmlV4, ToolUse::kMust, "\n\n<｜DSML｜tool_calls>\n" + kDsmlNow + "\n</｜DSML｜tool_calls>"))
      << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kDsmlV4, ToolUse::kMust,
                      "hm</think>\n\n<｜DSML｜tool_calls>\n" + kDsmlNow + "\n</｜DSML｜tool_calls>", true,
                      Reasoning::kOpen))
      << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMust,
                       open + "<｜DSML｜invoke name=\"add\">\n<｜DSML｜parameter name=\"a\" string=\"true\">1"));
  EXPECT_FALSE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMust,
                       open + "<｜DSML｜invoke name=\"add\">\n<｜DSML｜parameter name=\"a\" string=\"false\">one"));
  EXPECT_FALSE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMust, open + kDsmlNow + "text"));
  EXPECT_TRUE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMay, "I ask.\n\n" + open + kDsmlAdd + close)) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMay, "a <｜DSML｜ b")) << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kDsmlV32, ToolUse::kMay, "I ask.\n\n" + open + "<｜DSML｜invoke name=\"other\">"));
}

TEST_F(ToolGrammarTest, HermesCallsAreOneObjectEach) {
  const std::string add = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"note\": \"x\"}}\n</tool_call>";
  const std::string now = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
  EXPECT_TRUE(Accepts(ToolSyntax::kHermes, ToolUse::kMust, add)) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kHermes, ToolUse::kMust, "\n" + add + "\n" + now)) << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kHermes, ToolUse::kMust, add + "\n" + now, /*several=*/false));
  EXPECT_TRUE(Accepts(ToolSyntax::kHermes, ToolUse::kMay, "So: " + now)) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kHermes, ToolUse::kMay, "So: <tool_cal")) << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kHermes, ToolUse::kMay, "So: <tool_call>\n{\"name\": \"no\""));
}

TEST_F(ToolGrammarTest, QwenXmlCallsAreOneElementAParameter) {
  const std::string add =
      "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=note>\nfree \"text\" < & {\nlines\n"
      "</parameter>\n</function>\n</tool_call>";
  const std::string now = "<tool_call>\n<function=now>\n</function>\n</tool_call>";
  constexpr ToolSyntax kSyntax = ToolSyntax::kQwenXml;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMust, add)) << reached_;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMust, "\n" + add + "\n" + now)) << reached_;
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMust, add + "\n" + now, /*several=*/false));
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMust, "<tool_call>\n<function=add>\n<parameter=a>\none"));
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMust, "<tool_call>\n<function=sub>"));
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, "So: " + now)) << reached_;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, "So: <func")) << reached_;
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMay, "So: <tool_call>\n<function=sub>"));
  // The block's marker may be missing; the rest of the call is the same.
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, "So: " + now.substr(now.find("<function")))) << reached_;
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMay, "So: <function=sub>"));
}

TEST_F(ToolGrammarTest, MistralCallsAreAListOrOneByOne) {
  const std::string add = "{\"a\": 1, \"note\": \"x\"}";
  const std::string list = "[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": " + add + "}";
  const std::string now = "{\"name\": \"now\", \"arguments\": {}}";
  EXPECT_TRUE(Accepts(ToolSyntax::kMistral, ToolUse::kMust, list + "]")) << reached_;
  EXPECT_TRUE(Accepts(ToolSyntax::kMistral, ToolUse::kMay, "So: " + list + ", " + now + "]")) << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kMistral, ToolUse::kMust, list + ", " + now + "]", /*several=*/false));
  EXPECT_FALSE(Accepts(ToolSyntax::kMistral, ToolUse::kMay, "So: [TOOL_CALLS] [{\"name\": \"sub\""));
  EXPECT_TRUE(Accepts(ToolSyntax::kMistralArgs, ToolUse::kMust, "[TOOL_CALLS]add[ARGS]" + add)) << reached_;
  EXPECT_TRUE(
      Accepts(ToolSyntax::kMistralArgs, ToolUse::kMay, "[TOOL_CALLS]add[ARGS]" + add + "[TOOL_CALLS]now[ARGS]{}"))
      << reached_;
  EXPECT_FALSE(Accepts(ToolSyntax::kMistralArgs, ToolUse::kMay, "[TOOL_CALLS]sub"));
}

TEST_F(ToolGrammarTest, Llama3CallsAreOneObject) {
  const std::string add = "{\"name\": \"add\", \"parameters\": {\"a\": 1, \"note\": \"x\"}}";
  const std::string now = "{\"name\": \"now\", \"parameters\": {}}";
  constexpr ToolSyntax kSyntax = ToolSyntax::kLlama3;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMust, add)) << reached_;
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMust, add + "; " + now));
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMust, "So: " + now));
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, now)) << reached_;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, "<|python_tag|>" + add)) << reached_;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, "")) << reached_;
  EXPECT_TRUE(Accepts(kSyntax, ToolUse::kMay, "\n So: {\"name\": <b>")) << reached_;
  // What the parser would take for a call is one.
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMay, "{\"name\": \"sub\""));
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMay, " \n{\"a"));
  EXPECT_FALSE(Accepts(kSyntax, ToolUse::kMay, "So: <|python_tag|>"));
}

TEST_F(ToolGrammarTest, ACallOrAnAnswer) {
  const auto schema = PrepareSchema(R"({"type": "object", "properties": {"n": {"type": "string", "maxLength": 3}}})",
                                    SchemaDialect::kGeneral);
  for (const ToolSyntax syntax : {ToolSyntax::kDeepSeekV31, ToolSyntax::kDsmlV32, ToolSyntax::kHermes}) {
    const GrammarSpec spec =
        ToolOrAnswerSpec(*tokenizer_, syntax, tools_, /*several=*/true, JsonSchemaSpec(*schema, Reasoning::kMayOpen));
    EXPECT_TRUE(Accepts(spec, R"({"n": "abc"})")) << reached_;
    EXPECT_TRUE(Accepts(spec, R"(<think>hm</think>{"n": "abc"})")) << reached_;
    EXPECT_FALSE(Accepts(spec, R"({"n": "abcd"})"));
    EXPECT_FALSE(Accepts(spec, R"({"a": 1, "note": "x"})")) << "of a tool";
    EXPECT_FALSE(Accepts(spec, "text"));
    EXPECT_FALSE(Accepts(spec, "[     "));
    EXPECT_FALSE(Accepts(spec, "{     \"n\"")) << "white space is limited";
  }
  const GrammarSpec v31 = ToolOrAnswerSpec(*tokenizer_, ToolSyntax::kDeepSeekV31, tools_, true,
                                           JsonSchemaSpec(*schema, Reasoning::kMayOpen));
  EXPECT_TRUE(Accepts(v31, kBegin + kV31Add + kV31Now + kClose)) << reached_;
  EXPECT_TRUE(Accepts(v31, "<think>hm</think>\n\n" + kBegin + kV31Add + kClose)) << reached_;
  EXPECT_FALSE(Accepts(v31, kBegin + kV31Add + kClose + R"({"n": "abc"})"));
  EXPECT_FALSE(Accepts(v31, R"({"n": "abc"})" + kBegin + kV31Add + kClose));
  const GrammarSpec v32 =
      ToolOrAnswerSpec(*tokenizer_, ToolSyntax::kDsmlV32, tools_, true, JsonSchemaSpec(*schema, Reasoning::kNone));
  const std::string call = R"(<｜DSML｜function_calls>
<｜DSML｜invoke name="add">
<｜DSML｜parameter name="a" string="false">1</｜DSML｜parameter>
<｜DSML｜parameter name="note" string="true">x      y</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜function_calls>)";
  EXPECT_TRUE(Accepts(v32, call)) << reached_;
}

}  // namespace
}  // namespace hadal::grammar
