// SPDX-License-Identifier: Apache-2.0
#include "server/engine/window_cache.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::engine {
namespace {

// A window of 6 tokens in blocks of 4: two neighbouring windows reach into at most 3 blocks; a chunk of 8 fills 2, and
// two chunks may be under way.
constexpr int32_t kPerSequence = 3;
constexpr int32_t kForChunks = 4;

WindowCache Cache(int32_t sequences, bool reuse = true, int32_t extra = 0) {
  return WindowCache({.window_tokens = 6,
                      .blocks = sequences * kPerSequence + kForChunks + extra,
                      .block_tokens = 4,
                      .max_batch_tokens = 8,
                      .reuse = reuse});
}

TEST(WindowCacheTest, EverySequenceOwnsAPlace) {
  WindowCache cache = Cache(2);
  EXPECT_EQ(cache.max_sequences(), 2);
  EXPECT_EQ(cache.blocks_per_sequence(), kPerSequence);
  EXPECT_EQ(cache.blocks_for_hit(), 2);
  WindowTable greedy, modest;
  EXPECT_EQ(cache.Extend(greedy, 100), (kPerSequence + kForChunks) * 4) << "a chunk gets what is not reserved";
  EXPECT_EQ(cache.Extend(modest, 100), kPerSequence * 4);
  EXPECT_EQ(cache.pool().free(), 0);
  cache.Advance(greedy, 28);  // reads from 23 on: columns 5 and 6
  EXPECT_EQ(greedy.begin, 5);
  EXPECT_EQ(greedy.held(), 2);
  EXPECT_EQ(cache.pool().free(), 5);
  EXPECT_EQ(cache.Extend(modest, 100), (kPerSequence + kForChunks) * 4);
  cache.Release(greedy);
  cache.Release(modest);
  EXPECT_EQ(cache.pool().free(), cache.pool().total());
}

TEST(WindowCacheTest, KeepsExactlyWhatTheNextQueryReads) {
  for (int32_t position = 0; position < 40; ++position) {
    WindowCache cache = Cache(4);
    WindowTable table;
    for (int32_t next = 0; next <= position; ++next) {
      cache.Extend(table, next + 1);
      cache.Advance(table, next);
    }
    EXPECT_EQ(table.begin, std::max(0, position - 5) / 4);
    EXPECT_EQ(static_cast<int32_t>(table.blocks.size()), position / 4 + 1);
    EXPECT_EQ(cache.pool().used(), table.held());
  }
}

TEST(WindowCacheTest, RegisteredBlocksCanBeAdopted) {
  WindowCache cache = Cache(2);
  WindowTable first;
  cache.Extend(first, 12);
  const std::vector<int32_t> blocks = first.blocks;
  for (int32_t column = 0; column < 3; ++column) cache.Register(first, column, 100 + column);
  cache.Release(first);
  EXPECT_EQ(cache.pool().evictable(), 3);
  WindowTable second;
  WindowCache::StartAt(second, 1);
  cache.Adopt(second, 101);
  cache.Adopt(second, 102);
  EXPECT_EQ(second.blocks, (std::vector<int32_t>{0, blocks[1], blocks[2]}));
  EXPECT_EQ(second.held(), 2);
  WindowTable third;  // the same blocks, shared
  WindowCache::StartAt(third, 1);
  cache.Adopt(third, 101);
  cache.Release(second);
  EXPECT_EQ(cache.pool().used(), 1);
  cache.Release(third);
  EXPECT_EQ(cache.pool().used(), 0);
}

TEST(WindowCacheTest, TheLeastRecentlyUsedWindowGoesFirst) {
  WindowCache cache = Cache(1);  // 7 blocks
  WindowTable table;
  cache.Extend(table, 8);
  cache.Register(table, 0, 1);
  cache.Register(table, 1, 2);
  cache.Release(table);
  WindowTable again;
  cache.Adopt(again, 1);  // now node 2 has been idle for longer
  cache.Release(again);
  cache.Extend(table, 24);  // 6 of 7: one evictable block must go
  EXPECT_TRUE(cache.Holds(1));
  EXPECT_FALSE(cache.Holds(2));
  cache.Release(table);
}

TEST(WindowCacheTest, ForgottenWindowsAreNotFound) {
  WindowCache cache = Cache(1);
  WindowTable table;
  cache.Extend(table, 8);
  cache.Register(table, 0, 1);
  cache.Register(table, 1, 2);
  cache.Register(table, 1, 3);  // it has a node already
  EXPECT_FALSE(cache.Holds(3));
  cache.Forget(1);
  cache.Advance(table, 20);
  EXPECT_EQ(cache.pool().evictable(), 1);
  cache.Forget(table);
  EXPECT_FALSE(cache.Holds(2));
  EXPECT_EQ(cache.pool().free(), cache.pool().total());
  cache.Release(table);

  WindowCache off = Cache(1, /*reuse=*/false);
  off.Extend(table, 4);
  off.Register(table, 0, 1);
  EXPECT_FALSE(off.Holds(1));
  off.Release(table);
}

TEST(WindowCacheTest, RandomUseKeepsTheAccountsAndEveryPlace) {
  std::mt19937 random(5);
  WindowCache cache = Cache(5, true, 2);
  struct User {
    WindowTable table;
    int32_t computed = 0;
    int32_t scheduled = 0;
  };
  std::vector<User> users;
  uint64_t node = 0;
  for (int i = 0; i < 50000; ++i) {
    const int action = static_cast<int>(random() % 8);
    if (action == 0 && static_cast<int32_t>(users.size()) < cache.max_sequences()) {
      User& user = users.emplace_back();
      const uint64_t start = node < 8 ? 0 : node - random() % 8;
      if (start > 1 && cache.Holds(start) && cache.Holds(start - 1)) {
        WindowCache::StartAt(user.table, 3);
        cache.Adopt(user.table, start - 1);
        cache.Adopt(user.table, start);
        user.computed = user.scheduled = 20;
      }
    } else if (action == 1 && !users.empty()) {
      std::swap(users[random() % users.size()], users.back());
      if (random() % 8 == 0) cache.Forget(users.back().table);
      cache.Release(users.back().table);
      users.pop_back();
    } else if (!users.empty()) {
      User& user = users[random() % users.size()];
      if (user.scheduled > user.computed) {  // the step ends
        for (int32_t column = user.computed / 4; column < user.scheduled / 4; ++column) {
          cache.Register(user.table, column, ++node);
        }
        user.computed = user.scheduled;
        cache.Advance(user.table, user.computed);
      } else {
        const int32_t end = user.scheduled + 1 + static_cast<int32_t>(random() % 8);
        const int32_t covered = cache.Extend(user.table, end);
        ASSERT_GT(covered, user.scheduled) << "no room for a single token";
        user.scheduled = covered;
      }
    }
    const BlockPool& pool = cache.pool();
    ASSERT_EQ(pool.free() + pool.used() + pool.evictable(), pool.total());
  }
  for (User& user : users) cache.Release(user.table);
  EXPECT_EQ(cache.pool().used(), 0);
}

}  // namespace
}  // namespace hadal::engine
