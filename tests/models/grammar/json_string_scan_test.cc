// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/json_string_scan.h"

#include <gtest/gtest.h>

#include <string_view>

namespace hadal::grammar {
namespace {

using Step = JsonStringScan::Step;

// Characters of the string that begins with `text`, also when it does not end there; -1 when it is none.
int64_t Count(std::string_view text, bool* closed = nullptr) {
  JsonStringScan scan;
  for (size_t i = 0; i < text.size(); ++i) {
    const Step step = scan.Push(static_cast<unsigned char>(text[i]));
    if (step == Step::kInvalid) return -1;
    if (step == Step::kClosed) {
      if (closed != nullptr) *closed = i + 1 == text.size();
      return scan.characters();
    }
  }
  return scan.characters();
}

TEST(JsonStringScan, CountsEscapesAsWhatTheyStandFor) {
  EXPECT_EQ(Count(R"(a\"b\\\/\n\u00e9")"), 7);
  EXPECT_EQ(Count(R"(\uD83D\uDE00")"), 1);
  EXPECT_EQ(Count(R"(\uD83D\u0041")"), 2);
  EXPECT_EQ(Count(R"(\uD83D\\")"), 2);
  EXPECT_EQ(Count(R"(\uD83D\uD83D\uDE00\uDE00")"), 3);
  EXPECT_EQ(Count("é語😀\""), 3);
  bool closed = false;
  EXPECT_EQ(Count("\"", &closed), 0);
  EXPECT_TRUE(closed);
}

TEST(JsonStringScan, CountsWhatIsBegunUnlessItMayComplete) {
  EXPECT_EQ(Count("\\"), 1);
  EXPECT_EQ(Count("\xE8"), 1);
  EXPECT_EQ(Count(R"(\ud83d\)"), 1);
  EXPECT_EQ(Count(R"(\ud83d\u)"), 1);
  EXPECT_EQ(Count(R"(\ud83d\ude)"), 1);
  EXPECT_EQ(Count(R"(\ud83d\ud8)"), 2);
  EXPECT_EQ(Count(R"(\ud83d\u0)"), 2);
  EXPECT_EQ(Count(R"(\ud83d\n)"), 2);
}

TEST(JsonStringScan, RefusesWhatIsNoJsonOrNoUtf8) {
  for (const char* text : {"\n", "\x1F", "\\x", "\\u12g", "\xFF", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80",
                           "\xF4\x90\x80\x80", "\xC3\x28", "\x80"}) {
    EXPECT_EQ(Count(text), -1) << text;
  }
}

}  // namespace
}  // namespace hadal::grammar
