// SPDX-License-Identifier: Apache-2.0
#include "server/engine/prefix_cache.h"

#include <numeric>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/block_recorder.h"

namespace hadal::engine {
namespace {

std::vector<int32_t> Tokens(int32_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A sequence that takes blocks for its tokens, computes them, and registers the full ones.
struct User {
  std::vector<int32_t> blocks;
  PrefixChain chain;
  WindowTable window;

  int32_t Fill(PrefixCache& cache, const std::vector<int32_t>& tokens, uint64_t salt = 0) {
    cache.Match(tokens, salt, static_cast<int32_t>(tokens.size()) / 4, blocks, chain, window);
    const int32_t hits = chain.blocks;
    while (blocks.size() * 4 < tokens.size()) {
      const int32_t block = cache.Allocate();
      if (block < 0) break;
      blocks.push_back(block);
    }
    while ((chain.blocks + 1) * 4 <= static_cast<int32_t>(tokens.size()) &&
           chain.blocks < static_cast<int32_t>(blocks.size())) {
      cache.Insert(chain, salt, absl::MakeConstSpan(tokens).subspan(chain.blocks * 4, 4), blocks[chain.blocks]);
    }
    return hits;
  }
};

TEST(PrefixCacheTest, ALimitGivesUpWhatIsUnusedAndKeepsFreeBlocksUntouched) {
  PrefixCache cache({.num_blocks = 10, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  User first, second, third;
  first.Fill(cache, Tokens(16));
  second.Fill(cache, Tokens(16, 100));
  cache.Release(first.blocks);
  EXPECT_EQ(cache.pool().evictable(), 4);
  cache.SetLimit(6);
  EXPECT_EQ(cache.pool().evictable(), 2) << "the end of the chain that nobody uses";
  EXPECT_EQ(cache.pool().used(), 4);
  third.Fill(cache, Tokens(8, 200));
  EXPECT_EQ(cache.pool().evictable(), 0) << "before a free block is used";
  EXPECT_EQ(cache.pool().free(), 4);
  cache.SetLimit(3);
  EXPECT_EQ(cache.pool().used(), 6) << "what is in use stays";
  EXPECT_GE(cache.Allocate(), 0) << "leases decide who may use blocks";
  cache.SetLimit(10);
  cache.Release(second.blocks);
  EXPECT_EQ(cache.pool().evictable(), 4);
}

TEST(PrefixCacheTest, FindsWhatWasComputed) {
  PrefixCache cache({.num_blocks = 10, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  User first, second;
  EXPECT_EQ(first.Fill(cache, Tokens(10)), 0);
  EXPECT_EQ(second.Fill(cache, Tokens(10)), 2);
  EXPECT_EQ(second.blocks[0], first.blocks[0]);
  EXPECT_EQ(second.blocks[1], first.blocks[1]);
  EXPECT_NE(second.blocks[2], first.blocks[2]) << "a block that is not full belongs to one";
  EXPECT_EQ(cache.pool().used(), 4);
  cache.Release(first.blocks);
  EXPECT_EQ(cache.pool().used(), 3);
  cache.Release(second.blocks);
  EXPECT_EQ(cache.pool().used(), 0);
  EXPECT_EQ(cache.pool().evictable(), 2);
  EXPECT_EQ(cache.available(), 10);
  const auto peek = cache.Peek(Tokens(12), 0, 3);
  EXPECT_EQ(peek.blocks, 2);
  EXPECT_EQ(peek.evictable, 2);
}

TEST(PrefixCacheTest, SaltsAndOpeningsDoNotMix) {
  PrefixCache cache({.num_blocks = 20, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  User a, b, c;
  a.Fill(cache, Tokens(8), 1);
  EXPECT_EQ(b.Fill(cache, Tokens(8), 2), 0);
  // The same block of tokens after another opening is another block.
  std::vector<int32_t> other = {90, 91, 92, 93, 4, 5, 6, 7};
  EXPECT_EQ(c.Fill(cache, other, 1), 0);
}

TEST(PrefixCacheTest, EvictsTheLeastRecentlyUsedFromTheEndOfItsChain) {
  PrefixCache cache({.num_blocks = 4, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  User a, b;
  a.Fill(cache, Tokens(8));
  cache.Release(a.blocks);
  b.Fill(cache, Tokens(8, 100));
  cache.Release(b.blocks);
  const int32_t block = cache.Allocate();  // evicts a's second block
  EXPECT_GE(block, 0);
  EXPECT_EQ(cache.Peek(Tokens(8), 0, 2).blocks, 1);
  EXPECT_EQ(cache.Peek(Tokens(8, 100), 0, 2).blocks, 2);
  // Use makes recent: a's first block outlives b's.
  User again;
  again.chain = PrefixChain();
  cache.Match(Tokens(4), 0, 1, again.blocks, again.chain, again.window);
  cache.Release(again.blocks);
  cache.Allocate();
  cache.Allocate();
  EXPECT_EQ(cache.Peek(Tokens(8, 100), 0, 2).blocks, 0);
  EXPECT_EQ(cache.Peek(Tokens(8), 0, 2).blocks, 1);
}

TEST(PrefixCacheTest, BlocksInUseAreNeverEvicted) {
  PrefixCache cache({.num_blocks = 2, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  User a;
  a.Fill(cache, Tokens(8));
  EXPECT_EQ(cache.Allocate(), -1);
  EXPECT_EQ(cache.available(), 0);
}

TEST(PrefixCacheTest, ForgottenBlocksAreNotFound) {
  PrefixCache cache({.num_blocks = 4, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  User a;
  a.Fill(cache, Tokens(8));
  for (int32_t block : a.blocks) cache.Forget(block);
  EXPECT_EQ(cache.Peek(Tokens(8), 0, 2).blocks, 0);
  cache.Release(a.blocks);
  EXPECT_EQ(cache.pool().free(), 4);
  a.Fill(cache, Tokens(8));
  const std::vector<int32_t> blocks = a.blocks;
  cache.Release(a.blocks);
  for (int32_t block : blocks) cache.Forget(block);
  EXPECT_EQ(cache.pool().free(), 4);
}

TEST(PrefixCacheTest, OffMeansOff) {
  PrefixCache cache({.num_blocks = 4, .block_tokens = 4, .fingerprint = "model", .enabled = false});
  User a, b;
  a.Fill(cache, Tokens(8));
  EXPECT_EQ(b.Fill(cache, Tokens(8)), 0);
  cache.Release(a.blocks);
  cache.Release(b.blocks);
  EXPECT_EQ(cache.pool().free(), 4);
}

TEST(PrefixCacheTest, RandomUseKeepsTheAccounts) {
  PrefixCache cache({.num_blocks = 24, .block_tokens = 4, .fingerprint = "model", .enabled = true});
  std::mt19937 random(3);
  std::vector<User> users;
  int64_t hits = 0;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0 && users.size() < 8) {
      hits += users.emplace_back().Fill(cache, Tokens(1 + random() % 24, random() % 3), random() % 2);
    } else if (!users.empty()) {
      std::swap(users[random() % users.size()], users.back());
      cache.Release(users.back().blocks);
      users.pop_back();
    }
    if (random() % 50 == 0) cache.Forget(random() % 24);
    const BlockPool& pool = cache.pool();
    ASSERT_EQ(pool.free() + pool.used() + pool.evictable(), 24);
    ASSERT_GE(pool.evictable(), 0);
  }
  EXPECT_GT(hits, 1000);
  for (User& user : users) cache.Release(user.blocks);
  EXPECT_EQ(cache.pool().used(), 0);
}

TEST(BlockPoolTest, CountsReferences) {
  BlockPool pool(2);
  const int32_t a = pool.Allocate();
  EXPECT_EQ(a, 0);
  pool.AddRef(a);
  EXPECT_FALSE(pool.Unref(a));
  EXPECT_TRUE(pool.Unref(a));
  EXPECT_EQ(pool.evictable(), 1);
  pool.Reacquire(a);
  EXPECT_EQ(pool.used(), 1);
  EXPECT_TRUE(pool.Unref(a));
  pool.AddToFreeList(a);
  EXPECT_EQ(pool.free(), 2);
  pool.Allocate();
  pool.Allocate();
  EXPECT_EQ(pool.Allocate(), -1);
}

TEST(PrefixCacheTest, TellsOfWhatItGainsAndLoses) {
  hadal::testing::BlockRecorder told;
  PrefixCache cache({.num_blocks = 4, .block_tokens = 4, .fingerprint = "model", .enabled = true, .events = &told});
  User first, second;
  first.Fill(cache, Tokens(10), /*salt=*/7);
  ASSERT_EQ(told.blocks.size(), 2u) << "full blocks only";
  const auto [root, block] = *told.blocks.begin();
  EXPECT_EQ(block.parent, 0u);
  EXPECT_EQ(block.salt, 7u);
  EXPECT_EQ(block.tokens, Tokens(4));
  const auto [child, next] = *told.blocks.rbegin();
  EXPECT_EQ(next.parent, root);
  EXPECT_EQ(next.tokens, Tokens(4, 4));
  second.Fill(cache, Tokens(4), 7);
  EXPECT_EQ(told.blocks.size(), 2u) << "an equal block is told once";
  cache.Release(second.blocks);
  cache.Release(first.blocks);
  EXPECT_EQ(told.blocks.size(), 2u) << "unused blocks stay";
  User third;
  third.Fill(cache, Tokens(12, 100));
  EXPECT_EQ(told.blocks.size(), 4u);
  EXPECT_FALSE(told.blocks.contains(child)) << "the chain's end went first";
  cache.Forget(third.blocks[0]);
  EXPECT_EQ(told.blocks.size(), 3u);
}

TEST(PrefixCacheTest, TellsAllAnewWhenSomethingWasLost) {
  hadal::testing::BlockRecorder told(/*first_loss=*/1);
  PrefixCache cache({.num_blocks = 10, .block_tokens = 4, .fingerprint = "model", .enabled = true, .events = &told});
  User one, two;
  one.Fill(cache, Tokens(8));
  two.Fill(cache, Tokens(12, 50), /*salt=*/3);
  const auto before = told.blocks;
  told.blocks.clear();
  cache.EndRound();
  EXPECT_EQ(told.resets, 1);
  ASSERT_EQ(told.blocks.size(), 5u);
  for (const auto& [node, block] : before) {
    EXPECT_EQ(told.blocks[node].parent, block.parent);
    EXPECT_EQ(told.blocks[node].salt, block.salt);
    EXPECT_EQ(told.blocks[node].tokens, block.tokens);
  }
}

TEST(BlockPoolDeathTest, MisuseEndsTheProcess) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Unref(0), "not in use");
  EXPECT_DEATH(pool.AddRef(0), "not in use");
}

}  // namespace
}  // namespace hadal::engine
