// SPDX-License-Identifier: Apache-2.0
// The hand-written scanners against the regular expression engine, over random texts.
#include "models/tokenizer/matcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "models/tokenizer/class_run.h"
#include "models/tokenizer/known_patterns.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {
namespace {

std::string Show(std::string_view text, const std::vector<Match>& matches) {
  std::string out;
  for (const Match& m : matches) out += "[" + std::string(text.substr(m.begin, m.end - m.begin)) + "]";
  return out;
}

std::vector<Match> Matches(const Matcher& matcher, std::string_view text) {
  std::vector<Match> matches;
  const absl::Status status = matcher.FindMatches(text, &matches);
  EXPECT_TRUE(status.ok()) << status;
  return matches;
}

class TextSource {
 public:
  explicit TextSource(uint32_t seed) : random_(seed) {}

  std::string Next() {
    std::string text;
    for (uint32_t parts = random_() % 10; parts > 0; --parts) AppendPart(&text);
    return text;
  }

 private:
  void AppendPart(std::string* text) {
    static const char* const kParts[] = {
        "'s",   "'LL",    "'ſ",     "'re",    "don't", " ",   "  ",   "\t",      "\n",     "\r\n",
        " \n ", "\u3000", "\u00a0", "\u0085", "abc",   "ABC", "é",    "e\u0301", "\u0301", "中文",
        "ひら", "カ",     "한",     "12",     "½",     "١٢",  "+",    "!?",      "。",     "（",
        "$",    "€",      "\u200b", "\x01",   "_",     "-",   "🦙", "ℂ",       "ß",      "\U0001D7D9"};
    switch (random_() % 4) {
      case 0: {
        char32_t c = random_() % 0x110000;
        if (c >= 0xD800 && c < 0xE000) c = 'x';
        base::AppendUtf8(c, text);
        break;
      }
      case 1:
        base::AppendUtf8(random_() % 0x80, text);
        break;
      default:
        *text += kParts[random_() % std::size(kParts)];
    }
  }

  std::mt19937 random_;
};

class ScannerTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ScannerTest, FindsWhatTheEngineFinds) {
  auto scanner = MakeKnownPatternMatcher(GetParam());
  if (scanner == nullptr) scanner = MakeClassRunMatcher(GetParam());
  ASSERT_NE(scanner, nullptr) << "the pattern has no scanner: " << GetParam();
  const auto engine = MakeEngineMatcher(GetParam());
  ASSERT_TRUE(engine.ok()) << engine.status();
  TextSource source(42);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = source.Next();
    ASSERT_EQ(Show(text, Matches(*scanner, text)), Show(text, Matches(**engine, text))) << "in: " << text;
  }
}

TEST_P(ScannerTest, AgreesOnEveryCodePoint) {
  auto scanner = MakeKnownPatternMatcher(GetParam());
  if (scanner == nullptr) scanner = MakeClassRunMatcher(GetParam());
  ASSERT_NE(scanner, nullptr);
  const auto engine = MakeEngineMatcher(GetParam());
  ASSERT_TRUE(engine.ok());
  std::string text;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    text += "a ";
    base::AppendUtf8(c, &text);
    if (text.size() > 4096 || c == 0x10FFFF) {
      ASSERT_EQ(Show(text, Matches(*scanner, text)), Show(text, Matches(**engine, text)));
      text.clear();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, ScannerTest,
                         ::testing::Values(std::string(kDeepSeekV3Pattern), std::string(kQwen2Pattern),
                                           std::string(kLlama3Pattern), std::string(kGpt2Pattern),
                                           std::string(kTrailingSpacePattern), R"(\p{N}{1,3})", R"(\p{N})", R"(\p{N}+)",
                                           R"([一-龥぀-ゟ゠-ヿ]+)", "[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                                           R"( ?[^\s\p{L}\p{N}]+)", R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)",
                                           R"([一-龥ࠀ-一가-퟿]+)", R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺℂ𐐀-𐑏]+)",
                                           R"([\-a\]]{1,2})", R"([a-])"));

TEST(MatcherTest, KnowsThePatternWithLineBreaksWrittenOut) {
  std::string pattern(kDeepSeekV3Pattern);
  for (size_t at; (at = pattern.find("\\r")) != pattern.npos;) pattern.replace(at, 2, "\r");
  for (size_t at; (at = pattern.find("\\n")) != pattern.npos;) pattern.replace(at, 2, "\n");
  EXPECT_NE(MakeKnownPatternMatcher(pattern), nullptr);
}

TEST(MatcherTest, LeavesOtherFormsToTheEngine) {
  for (const char* pattern :
       {"a|b", "[a-z&&[^b]]+", "\\w+", "[[a]]", "[z-a]", "[]", "[a", "\\p{Han}+", "[a]*", "[a]{2,3}", "(a)", "", "."}) {
    EXPECT_EQ(MakeClassRunMatcher(pattern), nullptr) << pattern;
  }
}

TEST(MatcherTest, EngineUsesOurUnicodeVersion) {
  // U+1C89 is a letter since Unicode 16, which the engine of Debian 12 does not know.
  const std::string text = "\u1C89";
  for (const char* pattern : {"\\p{L}x*", "[\\p{L}]x*", "\\P{^L}x*", "[^\\P{L}]x*", "\\p{Lu}x*"}) {
    EXPECT_EQ(Matches(**MakeEngineMatcher(pattern), text).size(), 1u) << pattern;
  }
}

TEST(MatcherTest, EngineGivesUpInsteadOfHanging) {
  const auto engine = MakeEngineMatcher("(?:a|aa)+[bc]");
  ASSERT_TRUE(engine.ok());
  std::vector<Match> matches;
  const absl::Status status = (*engine)->FindMatches(std::string(20000, 'a'), &matches);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("(?:a|aa)+[bc]"));
}

TEST(MatcherTest, EmptyMatchesDoNotFollowAMatch) {
  EXPECT_EQ(Show("abx", Matches(**MakeEngineMatcher("a*"), "abx")), "[a][][]");
}

TEST(MatcherTest, LiteralsDoNotOverlap) {
  EXPECT_EQ(Show("aaaab", Matches(*MakeLiteralMatcher("aa"), "aaaab")), "[aa][aa]");
  EXPECT_TRUE(Matches(*MakeLiteralMatcher(""), "abc").empty());
}

TEST(MatcherTest, NumericCharactersIncludeTheNewestOnes) {
  EXPECT_EQ(Matches(*MakeNumericMatcher(), "a1½\U00011DE0x").size(), 3u);
}

TEST(UnicodeTest, RangesOfGroupsCoverTheirCategories) {
  const unicode::CharTable& table = unicode::CharTable::Get();
  size_t letters = 0;
  for (const unicode::CodePointRange& range : unicode::CategoryRanges("L")) {
    letters += range.last - range.first + 1;
    EXPECT_TRUE(table[range.first] & unicode::kLetter);
    EXPECT_TRUE(table[range.last] & unicode::kLetter);
  }
  EXPECT_EQ(letters, 141028u);  // Unicode 16
  EXPECT_TRUE(unicode::CategoryRanges("Xx").empty());
  EXPECT_TRUE(unicode::CategoryRanges("").empty());
  EXPECT_TRUE(unicode::IsWordCharacter('_'));
  EXPECT_TRUE(unicode::IsWordCharacter(U'中'));
  EXPECT_FALSE(unicode::IsWordCharacter('-'));
}

}  // namespace
}  // namespace hadal::tokenizer
