// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/salt_names.h"

#include <gtest/gtest.h>

namespace hadal::kv_events {
namespace {

TEST(SaltNamesTest, KeepsTheLastOnes) {
  SaltNames names;
  EXPECT_EQ(names.Find(1), "");
  names.Remember(1, "one");
  names.Remember(1, "one");  // the same caller again takes no second place
  for (uint64_t salt = 2; salt <= SaltNames::kMaxNames; ++salt) names.Remember(salt, "other");
  EXPECT_EQ(names.Find(1), "one");
  names.Remember(SaltNames::kMaxNames + 1, "last");
  EXPECT_EQ(names.Find(1), "");
  EXPECT_EQ(names.Find(2), "other");
  EXPECT_EQ(names.Find(SaltNames::kMaxNames + 1), "last");
}

}  // namespace
}  // namespace hadal::kv_events
