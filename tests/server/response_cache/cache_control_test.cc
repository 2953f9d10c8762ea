// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/cache_control.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

using Mode = CacheControl::Mode;
using ::testing::HasSubstr;

TEST(CacheControlTest, KnowsTheDirectives) {
  EXPECT_EQ(ParseCacheControl("")->mode, Mode::kOff);
  EXPECT_EQ(ParseCacheControl("use")->mode, Mode::kUse);
  EXPECT_EQ(ParseCacheControl(" No-Cache ")->mode, Mode::kRefresh);
  EXPECT_EQ(ParseCacheControl("only-if-cached")->mode, Mode::kOnly);
  EXPECT_EQ(ParseCacheControl("no-store")->mode, Mode::kNoStore);
  EXPECT_EQ(ParseCacheControl("max-age=60")->mode, Mode::kUse);
  EXPECT_EQ(ParseCacheControl("max-age=60")->max_age, absl::Seconds(60));
  EXPECT_EQ(ParseCacheControl("use")->max_age, absl::InfiniteDuration());
}

TEST(CacheControlTest, TheStrictestOfSeveralWins) {
  const auto control = ParseCacheControl("max-age=60, only-if-cached, max-age=5");
  EXPECT_EQ(control->mode, Mode::kOnly);
  EXPECT_EQ(control->max_age, absl::Seconds(5));
  EXPECT_EQ(ParseCacheControl("no-store, use")->mode, Mode::kNoStore);
  EXPECT_EQ(ParseCacheControl("no-cache,only-if-cached")->mode, Mode::kRefresh);
}

TEST(CacheControlTest, NamesWhatItDoesNotKnow) {
  for (const char* header : {"yes", "max-age=", "max-age=-1", "max-age=1.5", "use; max-age=3"}) {
    const auto control = ParseCacheControl(header);
    EXPECT_REASON(control.status(), request::Reason::kOutOfRange) << header;
    EXPECT_THAT(std::string(control.status().message()), HasSubstr("x-hadal-cache"));
    EXPECT_THAT(std::string(control.status().message()), HasSubstr(header));
  }
}

}  // namespace
}  // namespace hadal::response_cache
