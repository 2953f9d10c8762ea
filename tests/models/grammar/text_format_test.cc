// SPDX-License-Identifier: Apache-2.0
// Answers that are text: one of several, or what a regular expression says.
#include "models/grammar/text_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "models/grammar/pattern_check.h"
#include "tests/models/grammar/demo_grammar.h"

namespace hadal::grammar {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TextFormatTest : public DemoGrammarTest {
 protected:
  static std::shared_ptr<const CompiledGrammar> CompileRegex(const std::string& pattern) {
    const auto spec = RegexSpec(pattern, Reasoning::kNone, {});
    EXPECT_TRUE(spec.ok()) << spec.status();
    return spec.ok() ? Compile(*spec) : nullptr;
  }
};

TEST_F(TextFormatTest, TheAnswerIsOneOfTheChoices) {
  const auto spec = ChoiceSpec({"yes", "yes, \"please\"", "né\n"}, Reasoning::kMayOpen, {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto grammar = Compile(*spec);
  for (const char* text : {"yes", "yes, \"please\"", "né\n", "<think>no</think>yes"})
    EXPECT_TRUE(Accepts(*grammar, text));
  for (const char* text : {"", "ye", "yesyes", "no", "<think>no</think>"})
    EXPECT_FALSE(Accepts(*grammar, text)) << text;
  EXPECT_TRUE(Accepts(*Compile(*ChoiceSpec({"only"}, Reasoning::kNone, {})), "only"));
}

TEST_F(TextFormatTest, ChoicesHaveLimits) {
  const auto problem = [](const std::vector<std::string>& choices) {
    return std::string(ChoiceSpec(choices, Reasoning::kNone, {}).status().message());
  };
  EXPECT_THAT(problem({}), HasSubstr("no choice"));
  EXPECT_THAT(problem({"a", ""}), HasSubstr("empty"));
  EXPECT_THAT(problem(std::vector<std::string>(1025, "a")), HasSubstr("1025 choices; at most 1024"));
  EXPECT_THAT(problem({std::string(70000, 'a')}), HasSubstr("70000 bytes; at most 65536"));
}

TEST_F(TextFormatTest, QuotesBackslashesAndControlsAreCharactersLikeOthers) {
  const auto grammar = CompileRegex(R"("\\[^a-z]\n\x09\s\S.)");
  EXPECT_TRUE(Accepts(*grammar, "\"\\\"\n\t x\\"));
  EXPECT_TRUE(Accepts(*grammar, "\"\\語\n\t\u00a0語\""));
  EXPECT_FALSE(Accepts(*grammar, "\"\\\"\n\t x\n"));
  EXPECT_FALSE(Accepts(*grammar, "\"\\a\n\t xy"));
  EXPECT_FALSE(Accepts(*grammar, "\"\\\"\n\t \u00a0y")) << "\\S is no white space of any script";
  EXPECT_TRUE(Accepts(*CompileRegex("^a$|^b+$"), "bbb"));
  EXPECT_FALSE(Accepts(*CompileRegex("a"), "ba")) << "all of the answer matches";
}

TEST_F(TextFormatTest, ACaretInAClassIsACharacter) {
  for (const char* pattern : {"[\\^]", "[a^]", "[\\^-b]", "[\\x5e_]"}) {
    EXPECT_TRUE(Accepts(*CompileRegex(pattern), "^")) << pattern;
    EXPECT_FALSE(Accepts(*CompileRegex(pattern), "x")) << pattern;
  }
  EXPECT_TRUE(Accepts(*CompileRegex("[\\^-b]"), "b"));
}

TEST_F(TextFormatTest, WalksMatch) {
  for (const std::string pattern :
       {R"(\d{3}-[A-F"\\]{2})", R"((yes|no)(, (yes|no))*\.)", R"([ -~]+)", R"(\w+@\w+\.(com|org))"}) {
    const auto grammar = CompileRegex(pattern);
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::string text = Walk(*grammar, seed);
      EXPECT_TRUE(std::regex_match(text, std::regex(pattern))) << pattern << ": " << text;
    }
  }
}

TEST_F(TextFormatTest, WhatCannotBeFollowedIsRefused) {
  const auto problem = [](const std::string& pattern) {
    return std::string(RegexSpec(pattern, Reasoning::kNone, {}).status().message());
  };
  EXPECT_THAT(problem("(?=a)b"), AllOf(HasSubstr("(?=...)"), Not(HasSubstr("mail"))));
  EXPECT_THAT(problem("\\p{L}"), HasSubstr("\\p is not supported"));
  EXPECT_THAT(problem(".{1,80}"), HasSubstr("bounded repetition"));
  EXPECT_THAT(problem(std::string(300, 'a')), HasSubstr("300 bytes; at most 256"));
}

}  // namespace
}  // namespace hadal::grammar
