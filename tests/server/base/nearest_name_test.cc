// SPDX-License-Identifier: Apache-2.0
#include "server/base/nearest_name.h"

#include <gtest/gtest.h>

namespace hadal::base {
namespace {

TEST(NearestNameTest, FindsTheSmallestEditDistance) {
  EXPECT_EQ(NearestName("prot", {"host", "port"}), "port");
  EXPECT_EQ(NearestName("max-batch-sise", {"max-batch-tokens", "max-batch-size", "max-body"}), "max-batch-size");
}

TEST(NearestNameTest, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(NearestName("completely-different", {"host", "port"}), "");
  EXPECT_EQ(NearestName("port", {}), "");
}

}  // namespace
}  // namespace hadal::base
