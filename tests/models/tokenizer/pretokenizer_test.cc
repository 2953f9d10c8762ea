// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::tokenizer {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Pieces(const Pretokenizer& pretokenizer, std::string_view input) {
  PretokenizeScratch scratch;
  std::string_view text;
  EXPECT_TRUE(pretokenizer.Run(input, &scratch, &text).ok());
  std::vector<std::string> pieces;
  for (const Match& m : scratch.pieces) pieces.emplace_back(text.substr(m.begin, m.end - m.begin));
  return pieces;
}

Pretokenizer Dashes(SplitBehavior behavior, bool invert = false) {
  Pretokenizer pretokenizer;
  pretokenizer.AddSplit(MakeLiteralMatcher("-"), behavior, invert);
  return pretokenizer;
}

// The example of the Hugging Face documentation.
TEST(PretokenizerTest, SplitsByEachBehavior) {
  const char* text = "the-final--countdown";
  EXPECT_THAT(Pieces(Dashes(SplitBehavior::kRemoved), text), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(Pieces(Dashes(SplitBehavior::kIsolated), text), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(Pieces(Dashes(SplitBehavior::kMergedWithPrevious), text),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(Pieces(Dashes(SplitBehavior::kMergedWithNext), text), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(Pieces(Dashes(SplitBehavior::kContiguous), text), ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(Pieces(Dashes(SplitBehavior::kRemoved, true), text), ElementsAre("-", "-", "-"));
}

TEST(PretokenizerTest, LaterStepsSeePiecesInIsolation) {
  Pretokenizer pretokenizer;
  pretokenizer.AddSplit(*MakeRegexMatcher("\\p{N}{1,3}"), SplitBehavior::kIsolated, false);
  pretokenizer.AddSplit(*MakeRegexMatcher("\\s+(?!\\S)|\\s+"), SplitBehavior::kIsolated, false);
  // The spaces end their piece, so the look-ahead keeps both.
  EXPECT_THAT(Pieces(pretokenizer, "a  7b  c"), ElementsAre("a", "  ", "7", "b", " ", " ", "c"));
}

TEST(PretokenizerTest, PrefixSpaceGoesBeforeEveryPiece) {
  Pretokenizer pretokenizer = Dashes(SplitBehavior::kIsolated);
  pretokenizer.AddPrefixSpace();
  EXPECT_THAT(Pieces(pretokenizer, "a- b"), ElementsAre(" a", " -", " b"));
  EXPECT_TRUE(Pieces(pretokenizer, "").empty());
}

TEST(PretokenizerTest, ReportsAPatternThatFails) {
  Pretokenizer pretokenizer;
  pretokenizer.AddSplit(*MakeEngineMatcher("(?:a|aa)+[bc]"), SplitBehavior::kIsolated, false);
  PretokenizeScratch scratch;
  std::string_view text;
  EXPECT_FALSE(pretokenizer.Run(std::string(20000, 'a'), &scratch, &text).ok());
}

}  // namespace
}  // namespace hadal::tokenizer
