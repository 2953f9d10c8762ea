// SPDX-License-Identifier: Apache-2.0
#include "server/service/stop_matcher.h"

#include <random>

#include "gtest/gtest.h"

namespace hadal::service {
namespace {

std::shared_ptr<const StopStrings> Stops(std::vector<std::string> strings) {
  return std::make_shared<const StopStrings>(strings);
}

TEST(StopMatcherTest, FindsTheStringThatEndsFirst) {
  StopMatcher matcher(Stops({"world", "lo w"}));
  const StopMatcher::Result result = matcher.Feed("hello world");
  EXPECT_TRUE(result.matched);
  EXPECT_EQ(result.match_begin, 3u);
  EXPECT_EQ(result.string_index, 1);
}

TEST(StopMatcherTest, PrefersTheLongestOfThoseThatEndTogether) {
  StopMatcher matcher(Stops({"b", "ab", "xab"}));
  EXPECT_EQ(matcher.Feed("zab").match_begin, 1u);
}

TEST(StopMatcherTest, FindsAStringInsideAnother) {
  // "bc" ends while the longer "abcd" is still open.
  StopMatcher matcher(Stops({"abcd", "bc"}));
  EXPECT_EQ(matcher.Feed("abcx").match_begin, 1u);
}

TEST(StopMatcherTest, HoldsBackWhatMayBecomeAMatch) {
  StopMatcher matcher(Stops({"###END"}));
  EXPECT_FALSE(matcher.Feed("text ##").matched);
  EXPECT_EQ(matcher.held(), 2u);
  EXPECT_FALSE(matcher.Feed("#").matched);
  EXPECT_EQ(matcher.held(), 3u);
  EXPECT_FALSE(matcher.Feed("#").matched);  // "####": the last three may still be the start
  EXPECT_EQ(matcher.held(), 3u);
  EXPECT_FALSE(matcher.Feed("x").matched);
  EXPECT_EQ(matcher.held(), 0u);
}

TEST(StopMatcherTest, WithoutStringsNothingIsHeld) {
  StopMatcher none(nullptr);
  EXPECT_FALSE(none.Feed("abc").matched);
  EXPECT_EQ(none.held(), 0u);
  StopMatcher empty(Stops({"", ""}));
  EXPECT_FALSE(empty.Feed("abc").matched);
}

TEST(StopMatcherTest, AgreesWithSearchForAnyCut) {
  std::mt19937 random(7);
  const auto word = [&](int max) {
    std::string text;
    for (int i = static_cast<int>(random() % max) + 1; i > 0; --i)
      text.push_back(static_cast<char>('a' + random() % 3));
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> strings;
    for (int i = 0; i < 4; ++i) strings.push_back(word(5));
    const std::string text = word(24);
    // Plain search: smallest end, then smallest begin.
    size_t best_end = std::string::npos, best_begin = 0;
    for (const std::string& string : strings) {
      const size_t at = text.find(string);
      if (at == std::string::npos) continue;
      const size_t end = at + string.size();
      if (end < best_end || (end == best_end && at < best_begin)) {
        best_end = end;
        best_begin = at;
      }
    }
    StopMatcher matcher(Stops(strings));
    StopMatcher::Result result;
    for (size_t at = 0; at < text.size() && !result.matched;) {
      const size_t piece = 1 + random() % 5;
      result = matcher.Feed(std::string_view(text).substr(at, piece));
      at += piece;
    }
    ASSERT_EQ(result.matched, best_end != std::string::npos) << text;
    if (result.matched) {
      ASSERT_EQ(result.match_begin, best_begin) << text;
    }
  }
}

}  // namespace
}  // namespace hadal::service
