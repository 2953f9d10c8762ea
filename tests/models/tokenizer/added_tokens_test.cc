// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/added_tokens.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hadal::tokenizer {
namespace {

struct Case {
  std::vector<AddedToken> tokens;
  std::string text;
  std::vector<std::string> pieces;  // text as it stands, tokens as #id
};

std::vector<std::string> Split(const Case& c) {
  AddedTokenMatcher matcher;
  for (const AddedToken& token : c.tokens) matcher.Add(token, token.content);
  std::vector<std::string> pieces;
  matcher.Split(
      c.text, [&](std::string_view text) { pieces.emplace_back(text); },
      [&](int32_t id) { pieces.push_back(absl::StrCat("#", id)); });
  return pieces;
}

void Check(const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(Split(c), c.pieces) << c.text;
}

TEST(AddedTokenMatcherTest, TakesTheLongestOfThoseThatStartFirst) {
  const std::vector<AddedToken> tokens = {
      {.id = 1, .content = "ab"}, {.id = 2, .content = "abc"}, {.id = 3, .content = "bcd"}};
  Check({{tokens, "xabcdab", {"x", "#2", "d", "#1"}},
         {tokens, "bcdx", {"#3", "x"}},
         {tokens, "ba", {"ba"}},
         {tokens, "", {}}});
}

TEST(AddedTokenMatcherTest, WidensOverSpaces) {
  const std::vector<AddedToken> left = {{.id = 1, .content = "<a>", .lstrip = true}};
  const std::vector<AddedToken> right = {{.id = 1, .content = "<a>", .rstrip = true}};
  const std::vector<AddedToken> both = {{.id = 1, .content = "<a>", .lstrip = true, .rstrip = true}};
  Check({{left, "x \n<a> y", {"x", "#1", " y"}},
         {right, "x \n<a> y", {"x \n", "#1", "y"}},
         {both, " <a> \u3000<a>y", {"#1", "#1", "y"}}});
}

TEST(AddedTokenMatcherTest, AWordAloneMayBeAsked) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "word", .single_word = true}};
  Check({{tokens, "a word.", {"a ", "#1", "."}},
         {tokens, "swords word", {"swords ", "#1"}},
         {tokens, "wordé", {"wordé"}}});
}

// The expected pieces are those of tokenizers 0.23.
TEST(AddedTokenMatcherTest, SpacesThatATokenWasWidenedOverAreNoEmptyToken) {
  const std::vector<AddedToken> tab = {{.id = 1, .content = "\t", .lstrip = true, .rstrip = true}};
  const std::vector<AddedToken> after = {{.id = 1, .content = "<a>", .rstrip = true},
                                         {.id = 2, .content = "\n\n", .lstrip = true, .rstrip = true}};
  Check({{tab, "a\t\t", {"a", "#1"}},
         {tab, "a\t \tb\t", {"a", "#1", "b", "#1"}},
         {after, "<a>\n\n\n\nb", {"#1", "b"}},
         {after, "<a>b\n\n", {"#1", "b", "#2"}}});
}

TEST(AddedTokenMatcherTest, ATokenOfSpacesIsTakenAgainWhereItStandsForItself) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "<a>", .rstrip = true}, {.id = 2, .content = "\n"}};
  Check({{tokens, "<a> \n b", {"#1", "#2", " b"}}, {tokens, "<a>\n\n", {"#1", "#2", "#2"}}});
}

TEST(AddedTokenMatcherTest, BlanksThatStandForMarksAreNoSpaces) {
  AddedTokenMatcher matcher;
  matcher.KeepBlanks();
  const AddedToken token = {.id = 1, .content = "<a>", .lstrip = true, .rstrip = true};
  matcher.Add(token, token.content);
  std::vector<std::string> pieces;
  matcher.Split(
      "x \n<a>\n b", [&](std::string_view text) { pieces.emplace_back(text); },
      [&](int32_t id) { pieces.push_back(absl::StrCat("#", id)); });
  EXPECT_EQ(pieces, (std::vector<std::string>{"x ", "#1", " b"}));
}

// Here tokenizers crashes ("AddedVocabulary bad split").
TEST(AddedTokenMatcherTest, NothingIsReadBackwards) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "<a>", .rstrip = true},
                                          {.id = 2, .content = "\n", .lstrip = true}};
  Check({{tokens, "<a>\n  b", {"#1", "b"}}, {tokens, "<a>b \n", {"#1", "b", "#2"}}});
}

}  // namespace
}  // namespace hadal::tokenizer
