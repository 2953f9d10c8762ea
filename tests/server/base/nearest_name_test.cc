// SPDX-License-Identifier: Apache-2.0
#include "server/base/nearest_name.h"

#include <gtest/gtest.h>

namespace hadal::base {
namespace {

TEST(NearestNameTest, FindsTheSmallestEditDistance) {
  EXPECT_EQ(NearestName("prot", {"host", "port"}), "port");
  EXPECT_EQ(NearestName("max-batch-sise", {"max-batch-tokens", "max-batch-size", "max-body"}), "max-batch-size");
}

TEST(NearestNameTest, FindsWhatGoesOnAsTheNameDoesOrHasItAsAWord) {
  const std::vector<std::string> names = {"max-body", "max-body-bytes-in-flight", "max-queue-requests",
                                          "max-queue-tokens", "min-body-rate"};
  EXPECT_EQ(NearestName("max-queue", names), "max-queue-tokens");
  EXPECT_EQ(NearestName("queue", names), "max-queue-tokens");
  EXPECT_EQ(NearestName("max-body-byte", names), "max-body-bytes-in-flight");
  EXPECT_EQ(NearestName("max-bod", names), "max-body");
  EXPECT_EQ(NearestName("ueu", names), "") << "no word";
  EXPECT_EQ(NearestName("ma", {"max-queue"}), "") << "too short to mean anything";
}

TEST(NearestNameTest, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(NearestName("completely-different", {"host", "port"}), "");
  EXPECT_EQ(NearestName("port", {}), "");
}

}  // namespace
}  // namespace hadal::base
