// SPDX-License-Identifier: Apache-2.0
#include "client/memory_cache.h"

#include <gtest/gtest.h>

namespace hadal::client {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);
const absl::Time kLater = kNow + absl::Hours(1);

TEST(MemoryCacheTest, FindsWhatIsYoungEnough) {
  MemoryCache cache(10'000);
  EXPECT_EQ(cache.Find("a", kNow), std::nullopt);
  cache.Add("a", "1", kLater);
  EXPECT_EQ(cache.Find("a", kNow), "1");
  EXPECT_EQ(cache.Find("b", kNow), std::nullopt);
  cache.Add("a", "2", kLater);
  EXPECT_EQ(cache.Find("a", kLater - absl::Nanoseconds(1)), "2");
  EXPECT_EQ(cache.Find("a", kLater), std::nullopt);
  EXPECT_EQ(cache.bytes(), 0) << "what is too old goes";
}

TEST(MemoryCacheTest, TheLeastLatelyUsedGoesFirst) {
  MemoryCache cache(3500);
  const std::string value(800, 'x');
  for (const char* key : {"a", "b", "c"}) cache.Add(key, value, kLater);
  EXPECT_TRUE(cache.Find("a", kNow).has_value());
  cache.Add("d", value, kLater);
  EXPECT_FALSE(cache.Find("b", kNow).has_value());
  for (const char* key : {"a", "c", "d"}) EXPECT_TRUE(cache.Find(key, kNow).has_value()) << key;
  EXPECT_LE(cache.bytes(), 3500);
}

TEST(MemoryCacheTest, WhatDoesNotFitIsNotKept) {
  MemoryCache cache(1000);
  cache.Add("a", "1", kLater);
  cache.Add("b", std::string(1000, 'x'), kLater);
  EXPECT_TRUE(cache.Find("a", kNow).has_value());
  EXPECT_FALSE(cache.Find("b", kNow).has_value());
  cache.Add("a", std::string(1000, 'x'), kLater);
  EXPECT_FALSE(cache.Find("a", kNow).has_value()) << "the old value is wrong now";
  MemoryCache none(0);
  none.Add("a", "1", kLater);
  EXPECT_FALSE(none.Find("a", kNow).has_value());
}

}  // namespace
}  // namespace hadal::client
