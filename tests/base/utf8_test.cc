// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <gtest/gtest.h>

namespace hadal::base {
namespace {

std::string Replace(std::string_view bytes) {
  std::string out;
  EXPECT_EQ(AppendReplacingInvalid(bytes, true, &out), bytes.size());
  EXPECT_EQ(ToValidUtf8(bytes), out);
  return out;
}

TEST(Utf8Test, FindsTheFirstInvalidByte) {
  EXPECT_EQ(FindInvalidUtf8("plain text that is longer than a word"), std::string::npos);
  EXPECT_EQ(FindInvalidUtf8("é中🦙\U0010FFFF"), std::string::npos);
  EXPECT_EQ(FindInvalidUtf8("12345678\x80"), 8u);
  EXPECT_EQ(FindInvalidUtf8("a\xC0\x80"), 1u);         // overlong
  EXPECT_EQ(FindInvalidUtf8("\xED\xA0\x80"), 0u);      // surrogate
  EXPECT_EQ(FindInvalidUtf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(FindInvalidUtf8("é\xE4\xBD"), 2u);         // cut short
}

TEST(Utf8Test, ReplacesMaximalSubparts) {
  // The example of the Unicode Standard, table 3-8.
  EXPECT_EQ(Replace("a\xF1\x80\x80\xE1\x80\xC2"
                    "b\x80"
                    "c\x80\xBF"
                    "d"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(Replace("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  EXPECT_EQ(Replace("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

TEST(Utf8Test, LeavesAnUnfinishedCharacterUnlessLast) {
  std::string out;
  EXPECT_EQ(AppendReplacingInvalid("a\xF0\x9F\xA6", false, &out), 1u);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(AppendReplacingInvalid("\xF0\x9F\xA6", true, &out), 3u);
  EXPECT_EQ(out, "a\uFFFD");
}

TEST(Utf8Test, CountsCharacters) {
  EXPECT_EQ(CountCharacters(""), 0);
  EXPECT_EQ(CountCharacters("a\u00e9\u4e2d\U0010FFFF"), 4);
}

TEST(Utf8Test, CutsBetweenCharacters) {
  EXPECT_EQ(Utf8Prefix("abc", 3), "abc");
  EXPECT_EQ(Utf8Prefix("abc", 2), "ab");
  EXPECT_EQ(Utf8Prefix("a\u4e2d", 4), "a\u4e2d");
  EXPECT_EQ(Utf8Prefix("a\u4e2d", 3), "a");
  EXPECT_EQ(Utf8Prefix("\u4e2d", 2), "");
}

TEST(Utf8Test, EncodesAndDecodesEveryLength) {
  for (const char32_t c : {U'\x7F', U'\x80', U'\u07FF', U'\u0800', U'\uFFFF', U'\U00010000', U'\U0010FFFF'}) {
    std::string text;
    AppendUtf8(c, &text);
    int length = 0;
    EXPECT_EQ(DecodeUtf8(text.data(), &length), c);
    EXPECT_EQ(static_cast<size_t>(length), text.size());
    EXPECT_EQ(LastCharacter("ab" + text), 2u);
  }
}

}  // namespace
}  // namespace hadal::base
