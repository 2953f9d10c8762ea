// SPDX-License-Identifier: Apache-2.0
#include "server/base/flag_values.h"

#include <gtest/gtest.h>

namespace hadal::base {
namespace {

TEST(FlagValuesTest, ParsesSizes) {
  EXPECT_EQ(*ParseBytes("24GiB"), int64_t{24} << 30);
  EXPECT_EQ(*ParseBytes("1.5 GB"), 1500000000);
  EXPECT_EQ(*ParseBytes("1000"), 1000);
  EXPECT_FALSE(ParseBytes("-1").ok());
  EXPECT_FALSE(ParseBytes("ten").ok());
  EXPECT_FALSE(ParseBytes("99999999TiB").ok());
}

TEST(FlagValuesTest, ParsesDurations) {
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseDuration("2"), absl::Seconds(2));
  EXPECT_FALSE(ParseDuration("-1s").ok());
  EXPECT_FALSE(ParseDuration("soon").ok());
}

TEST(FlagValuesTest, ParsesIntegersInTheirRange) {
  EXPECT_EQ(*ParseInt("-3", -3, 3), -3);
  EXPECT_EQ(ParseInt("4", -3, 3).status().message(), "expected a whole number from -3 to 3, found '4'");
  EXPECT_FALSE(ParseInt("1.0", 0, 3).ok());
}

TEST(FlagValuesTest, TextsParseBack) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1000}, int64_t{3} << 10, int64_t{64} << 20, int64_t{5} << 40}) {
    EXPECT_EQ(*ParseBytes(BytesText(bytes)), bytes) << BytesText(bytes);
  }
  EXPECT_EQ(BytesText(64 << 10), "64KiB");
  EXPECT_EQ(DurationText(absl::Seconds(90)), "90s");
  EXPECT_EQ(DurationText(absl::Milliseconds(1500)), "1.5s");
  EXPECT_EQ(DurationText(absl::Milliseconds(5)), "5ms");
}

}  // namespace
}  // namespace hadal::base
