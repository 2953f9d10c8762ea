// SPDX-License-Identifier: Apache-2.0
#include "server/admission/class_values.h"

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

TEST(ClassValuesTest, ReadsSharesByClass) {
  ByClass<double> shares = {};
  ASSERT_TRUE(ParseClassShares("low=0.5,high=0.25", &shares).ok());
  EXPECT_EQ(shares, (ByClass<double>{0.25, 0, 0.5, 0}));
  EXPECT_EQ(ClassSharesText(shares), "high=0.25,low=0.5");
  ASSERT_TRUE(ParseClassShares("", &shares).ok());
  EXPECT_EQ(shares, ByClass<double>{});
  EXPECT_EQ(ParseClassShares("urgent=1", &shares).message(),
            "expected CLASS=VALUE of the classes high, normal, low and batch, found 'urgent=1'");
  EXPECT_EQ(ParseClassShares("high=0.1,high=0.2", &shares).message(), "the class high is named twice");
  EXPECT_EQ(ParseClassShares("high=2", &shares).message(), "class high: expected a share from 0 to 1, found '2'");
  EXPECT_EQ(ParseClassShares("high=0.8,low=0.4", &shares).message(), "the shares add up to 1.2, more than 1");
}

TEST(ClassValuesTest, ReadsDurationsByClass) {
  ByClass<absl::Duration> limits = {};
  ASSERT_TRUE(ParseClassDurations("high=500ms,low=90s", &limits).ok());
  EXPECT_EQ(limits, (ByClass<absl::Duration>{absl::Milliseconds(500), absl::InfiniteDuration(), absl::Seconds(90),
                                             absl::InfiniteDuration()}));
  EXPECT_EQ(ClassDurationsText(limits), "high=500ms,low=90s");
  EXPECT_FALSE(ParseClassDurations("high=soon", &limits).ok());
  ASSERT_TRUE(ParseClassDurations("none", &limits).ok());
  EXPECT_EQ(ClassDurationsText(limits), "none");
}

}  // namespace
}  // namespace hadal::admission
