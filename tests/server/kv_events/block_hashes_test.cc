// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/block_hashes.h"

#include <gtest/gtest.h>

#include <vector>

namespace hadal::kv_events {
namespace {

const std::vector<int32_t> kFirst = {1, 2, 3, 4};
const std::vector<int32_t> kSecond = {5, 6, 7, 129279};

// Computed with Python's hashlib by the formula of the header.
TEST(BlockHashesTest, AreTheDocumentedChain) {
  BlockHashes hashes("fp_demo");
  const auto first = hashes.Add(1, 0, 0, kFirst);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->hash, 0x90350898cabc6642u);
  EXPECT_FALSE(first->parent.has_value());
  const auto second = hashes.Add(2, 1, 0, kSecond);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->hash, 0x26f723880da66bf4u);
  EXPECT_EQ(second->parent, first->hash);
  EXPECT_EQ(hashes.Add(3, 0, 7, kFirst)->hash, 0xeaa5cc2a67b4b0bcu) << "a salt has prompts of its own";
}

TEST(BlockHashesTest, AreTheSameWhateverTheNodesAreCalledAndOtherForAnotherModel) {
  BlockHashes one("fp"), same("fp"), other("fp2");
  one.Add(1, 0, 0, kFirst);
  same.Add(70, 0, 0, kFirst);
  EXPECT_EQ(one.Add(2, 1, 0, kSecond)->hash, same.Add(90, 70, 0, kSecond)->hash);
  EXPECT_NE(one.Add(3, 0, 1, kFirst)->hash, other.Add(1, 0, 1, kFirst)->hash);
}

TEST(BlockHashesTest, WhatNoPromptFindsHasNoName) {
  BlockHashes hashes("fp");
  const uint64_t first = hashes.Add(1, 0, 0, kFirst)->hash;
  EXPECT_EQ(hashes.Remove(1), first);
  EXPECT_FALSE(hashes.Add(2, 1, 0, kSecond).has_value()) << "its parent has gone";
  EXPECT_FALSE(hashes.Remove(2).has_value());
  EXPECT_FALSE(hashes.Remove(99).has_value());
  EXPECT_EQ(hashes.size(), 0u);
}

TEST(BlockHashesTest, ABlockThatIsStoredTwiceIsRemovedWithTheLast) {
  BlockHashes hashes("fp");
  hashes.Add(1, 0, 0, kFirst);
  const uint64_t second = hashes.Add(2, 1, 0, kSecond)->hash;
  hashes.Remove(1);  // node 2 stays, and is found by nobody
  hashes.Add(3, 0, 0, kFirst);
  EXPECT_FALSE(hashes.Add(4, 3, 0, kSecond).has_value()) << "published already";
  EXPECT_FALSE(hashes.Remove(2).has_value());
  EXPECT_EQ(hashes.Remove(4), second);
  hashes.Clear();
  EXPECT_EQ(hashes.size(), 0u);
  EXPECT_FALSE(hashes.Remove(3).has_value());
}

}  // namespace
}  // namespace hadal::kv_events
