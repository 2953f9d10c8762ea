// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/lexer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::jinja {
namespace {

using ::testing::HasSubstr;

// The texts between the tags, separated by "|".
std::string Texts(std::string_view source) {
  const auto tokens = Tokenize(source);
  if (!tokens.ok()) return std::string(tokens.status().message());
  std::string out;
  for (const Token& token : *tokens) {
    if (token.kind == Token::Kind::kText) out += token.text + "|";
  }
  return out;
}

TEST(LexerTest, TakesSpacesAwayAsJinjaDoes) {
  EXPECT_EQ(Texts("a\n  {% x %}\nb"), "a\n|b|");      // lstrip_blocks, trim_blocks
  EXPECT_EQ(Texts("a  {% x %}\nb"), "a  |b|");        // text in front of the tag
  EXPECT_EQ(Texts("a\n  {{ x }}\nb"), "a\n  |\nb|");  // a variable is no block
  EXPECT_EQ(Texts("a \n {%- x -%} \n b"), "a|b|");
  EXPECT_EQ(Texts("a\n  {%+ x +%}\nb"), "a\n  |\nb|");
  EXPECT_EQ(Texts("a {#- x -#} b\n"), "a|b|");
}

TEST(LexerTest, LinesEndInOneWay) {
  EXPECT_EQ(Texts("a\r\nb\rc\n"), "a\nb\nc|");
  EXPECT_EQ(Texts("a\n\n"), "a\n|");
}

TEST(LexerTest, RawBlocksAreText) { EXPECT_EQ(Texts("{% raw %}{{ x }} {% y %}{% endraw %}z"), "{{ x }} {% y %}|z|"); }

TEST(LexerTest, BracketsHoldTheEndOfATag) {
  const auto tokens = Tokenize("{{ {'a': {'b': '}}'}} }}x");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->back().kind, Token::Kind::kEnd);
  EXPECT_EQ((*tokens)[tokens->size() - 2].text, "x");
}

TEST(LexerTest, ErrorsNameTheLine) {
  EXPECT_THAT(Texts("a\n{{ 'b"), HasSubstr("line 2: a string is not closed"));
  EXPECT_THAT(Texts("\n\n{# x"), HasSubstr("line 3: a comment is not closed"));
  EXPECT_THAT(Texts("{% if x"), HasSubstr("line 1: a tag is not closed with %}"));
  EXPECT_THAT(Texts("{% raw %} x"), HasSubstr("a raw block is not closed"));
  EXPECT_THAT(Texts("{{ ) }}"), HasSubstr("unexpected ')'"));
  EXPECT_THAT(Texts("{{ $ }}"), HasSubstr("unexpected character '$'"));
}

TEST(LexerTest, StringLiteralsHavePythonsEscapes) {
  EXPECT_EQ(*DecodeStringLiteral(R"(\n\t\\\'\")"), "\n\t\\'\"");
  EXPECT_EQ(*DecodeStringLiteral(R"(\x41\u00e9\U0001F999\101)"), "Aé🦙A");
  EXPECT_EQ(*DecodeStringLiteral(R"(\q)"), "\\q");
  EXPECT_FALSE(DecodeStringLiteral(R"(\x4)").ok());
  EXPECT_FALSE(DecodeStringLiteral(R"(\ud800)").ok());
  EXPECT_FALSE(DecodeStringLiteral(R"(\N{BULLET})").ok());
}

}  // namespace
}  // namespace hadal::jinja
