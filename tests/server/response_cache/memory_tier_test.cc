// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/memory_tier.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace hadal::response_cache {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);

MemoryTier::Entry Bytes(size_t count) { return std::make_shared<const std::string>(count, 'x'); }
std::string Key(int number) { return "key" + std::to_string(1000 + number); }

// Bytes that one entry of 100 takes, with its key.
int64_t OneEntry() {
  MemoryTier tier(1 << 20);
  tier.Add(Key(0), Bytes(100), absl::InfiniteFuture());
  return tier.counts().bytes;
}

void AddMany(MemoryTier& tier, int first, int count) {
  for (int i = first; i < first + count; ++i) tier.Add(Key(i), Bytes(100), absl::InfiniteFuture());
}

TEST(MemoryTierTest, GivesBackWhatWasAddedUntilItExpires) {
  MemoryTier tier(1 << 16);
  EXPECT_EQ(tier.Find("a", kNow), nullptr);
  EXPECT_TRUE(tier.Add("a", Bytes(3), kNow + absl::Seconds(10)));
  ASSERT_NE(tier.Find("a", kNow), nullptr);
  EXPECT_EQ(*tier.Find("a", kNow), "xxx");
  tier.Add("a", Bytes(5), kNow + absl::Seconds(10));
  EXPECT_EQ(tier.Find("a", kNow)->size(), 5u);
  EXPECT_EQ(tier.counts().entries, 1);
  EXPECT_EQ(tier.Find("a", kNow + absl::Seconds(10)), nullptr);
  EXPECT_EQ(tier.counts().bytes, 0);
}

TEST(MemoryTierTest, StaysWithinItsBytes) {
  const int64_t one = OneEntry();
  MemoryTier tier(20 * one);
  AddMany(tier, 0, 1000);
  EXPECT_LE(tier.counts().bytes, 20 * one);
  EXPECT_EQ(tier.counts().entries, 20);
  EXPECT_EQ(tier.counts().evictions, 980u);
  EXPECT_NE(tier.Find(Key(999), kNow), nullptr) << "the newest stays";
  tier.Remove(Key(999));
  EXPECT_EQ(tier.Find(Key(999), kNow), nullptr);
  EXPECT_EQ(tier.counts().bytes, 19 * one);
}

TEST(MemoryTierTest, AScanPushesNothingOutThatIsAskedFor) {
  MemoryTier tier(40 * OneEntry());
  AddMany(tier, 0, 20);
  for (int i = 0; i < 20; ++i) EXPECT_NE(tier.Find(Key(i), kNow), nullptr);
  AddMany(tier, 100, 500);  // nobody asks for these
  int left = 0;
  for (int i = 0; i < 20; ++i) left += tier.Find(Key(i), kNow) != nullptr;
  EXPECT_EQ(left, 20);
}

TEST(MemoryTierTest, WhatComesBackSoonAfterItWasDroppedStays) {
  const int64_t one = OneEntry();
  MemoryTier tier(20 * one);
  AddMany(tier, 0, 30);
  ASSERT_EQ(tier.Find(Key(5), kNow), nullptr);
  AddMany(tier, 5, 1);  // it is remembered, so it goes into the main queue
  AddMany(tier, 100, 100);
  EXPECT_NE(tier.Find(Key(5), kNow), nullptr);
}

TEST(MemoryTierTest, TheMainQueueDropsWhatIsNoLongerAskedFor) {
  MemoryTier tier(20 * OneEntry());
  for (int i = 0; i < 200; ++i) {
    AddMany(tier, i, 1);
    tier.Find(Key(i), kNow);  // everything is asked for once
  }
  EXPECT_LE(tier.counts().entries, 20);
  EXPECT_EQ(tier.Find(Key(0), kNow), nullptr);
}

TEST(MemoryTierTest, TakesNothingThatWouldPushMostOfTheRestAside) {
  MemoryTier tier(4096);
  EXPECT_FALSE(tier.Add("long", Bytes(1000), absl::InfiniteFuture()));
  EXPECT_FALSE(MemoryTier(0).Add("any", Bytes(1), absl::InfiniteFuture()));
  EXPECT_EQ(tier.counts().bytes, 0);
}

}  // namespace
}  // namespace hadal::response_cache
