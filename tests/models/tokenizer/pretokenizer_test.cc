// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/tokenizer/tokenizer_parts.h"
#include "tests/models/tokenizer/test_data.h"

namespace hadal::tokenizer {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Pieces(const Pretokenizer& pretokenizer, std::string_view input) {
  PretokenizeScratch scratch;
  std::string_view text;
  EXPECT_TRUE(pretokenizer.Run(input, /*first=*/true, &scratch, &text).ok());
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

// Strings that tell any two of these generations apart, with the pieces found by hand from the published patterns. V2
// has the patterns of deepseek_llm.
TEST(PretokenizerTest, CutsAsEachGenerationDoes) {
  using Generations = std::vector<std::pair<const char*, std::vector<std::string>>>;
  const std::vector<std::pair<const char*, Generations>> cases = {
      // Digits are cut first in V3, so that the spaces end their piece; one pattern leaves a space for the next match.
      {"a  7",
       {{"deepseek_v3", {"a", "  ", "7"}},
        {"deepseek_llm", {"a", "  ", "7"}},
        {"deepseek_coder", {"a", "  ", "7"}},
        {"qwen2", {"a", " ", " ", "7"}},
        {"llama3", {"a", " ", " ", "7"}}}},
      {"12345",
       {{"deepseek_v3", {"123", "45"}},
        {"deepseek_llm", {"1", "2", "3", "4", "5"}},
        {"deepseek_coder", {"1", "2", "3", "4", "5"}},
        {"qwen2", {"1", "2", "3", "4", "5"}},
        {"llama3", {"123", "45"}}}},
      // A mark joins the letters behind it in V3, English endings are cut in Qwen and Llama 3.
      {"x'Tab",
       {{"deepseek_v3", {"x", "'Tab"}},
        {"deepseek_llm", {"x", "'", "Tab"}},
        {"deepseek_coder", {"x", "'", "Tab"}},
        {"qwen2", {"x", "'T", "ab"}},
        {"llama3", {"x", "'T", "ab"}}}},
      // The range for Chinese of llm and coder begins at U+0800 and so holds ệ (U+1EC7).
      {"Việt",
       {{"deepseek_v3", {"Việt"}},
        {"deepseek_llm", {"Vi", "ệ", "t"}},
        {"deepseek_coder", {"Vi", "ệ", "t"}},
        {"qwen2", {"Việt"}},
        {"llama3", {"Việt"}}}},
      {"中文abc",
       {{"deepseek_v3", {"中文", "abc"}},
        {"deepseek_llm", {"中文", "abc"}},
        {"deepseek_coder", {"中文", "abc"}},
        {"qwen2", {"中文abc"}},
        {"llama3", {"中文abc"}}}},
      // Hangul is no class of its own in V3.
      {"한글abc",
       {{"deepseek_v3", {"한글abc"}},
        {"deepseek_llm", {"한글", "abc"}},
        {"deepseek_coder", {"한글", "abc"}},
        {"qwen2", {"한글abc"}},
        {"llama3", {"한글abc"}}}},
      {"a\n\nb",
       {{"deepseek_v3", {"a", "\n\n", "b"}},
        {"deepseek_llm", {"a", "\n", "\n", "b"}},
        {"deepseek_coder", {"a", "\n", "\n", "b"}},
        {"qwen2", {"a", "\n\n", "b"}},
        {"llama3", {"a", "\n\n", "b"}}}},
      // Symbols are marks for V3 and llm, but \p{P} of coder holds none; combining marks are letters in V3 alone.
      {"a=+b",
       {{"deepseek_v3", {"a", "=+", "b"}},
        {"deepseek_llm", {"a", "=+", "b"}},
        {"deepseek_coder", {"a", "=+", "b"}},
        {"qwen2", {"a", "=+", "b"}},
        {"llama3", {"a", "=+", "b"}}}},
      {"=!ok",
       {{"deepseek_v3", {"=!", "ok"}},
        {"deepseek_llm", {"=!", "ok"}},
        {"deepseek_coder", {"=", "!", "ok"}},
        {"qwen2", {"=!", "ok"}},
        {"llama3", {"=!", "ok"}}}},
      {"e\u0301t",
       {{"deepseek_v3", {"e\u0301t"}},
        {"deepseek_llm", {"e", "\u0301", "t"}},
        {"deepseek_coder", {"e", "\u0301", "t"}},
        {"qwen2", {"e", "\u0301t"}},
        {"llama3", {"e", "\u0301t"}}}},
  };
  for (const auto& [text, generations] : cases) {
    for (const auto& [name, pieces] : generations) {
      const auto parts = ParseTokenizerJson(ReadData(std::string(name) + ".tokenizer.json"));
      ASSERT_TRUE(parts.ok()) << parts.status();
      EXPECT_EQ(Pieces(parts->pretokenizer, text), pieces) << name << ": " << text;
    }
  }
}

TEST(PretokenizerTest, PrefixSpaceGoesBeforeEveryPiece) {
  Pretokenizer pretokenizer = Dashes(SplitBehavior::kIsolated);
  pretokenizer.AddPrefixSpace(/*only_first=*/false);
  EXPECT_THAT(Pieces(pretokenizer, "a- b"), ElementsAre(" a", " -", " b"));
  EXPECT_TRUE(Pieces(pretokenizer, "").empty());
}

TEST(PretokenizerTest, ReportsAPatternThatFails) {
  Pretokenizer pretokenizer;
  pretokenizer.AddSplit(*MakeEngineMatcher("(?:a|aa)+[bc]"), SplitBehavior::kIsolated, false);
  PretokenizeScratch scratch;
  std::string_view text;
  EXPECT_FALSE(pretokenizer.Run(std::string(20000, 'a'), /*first=*/true, &scratch, &text).ok());
}

}  // namespace
}  // namespace hadal::tokenizer
