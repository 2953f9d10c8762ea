// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/block_event_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

namespace hadal::kv_events {
namespace {

using Kind = BlockEventList::Kind;

struct Fixture {
  explicit Fixture(size_t limit)
      : queue(
            limit, [this] { ++notified; }, [this] { ++overflows; }) {}
  int notified = 0;
  int overflows = 0;
  BlockEventQueue queue;
};

TEST(BlockEventQueueTest, RoundsComeTogetherAndInOrder) {
  Fixture f(100);
  f.queue.OnStored(1, 0, 9, {10, 11});
  EXPECT_TRUE(f.queue.Take().events.empty()) << "the round has not ended";
  EXPECT_TRUE(f.queue.EndRound());
  EXPECT_TRUE(f.queue.EndRound()) << "nothing happened";
  f.queue.OnRemoved(1);
  f.queue.OnStored(2, 0, 0, {12});
  EXPECT_TRUE(f.queue.EndRound());
  EXPECT_EQ(f.notified, 1) << "once for what waits";
  const BlockEventList list = f.queue.Take();
  ASSERT_EQ(list.events.size(), 3u);
  EXPECT_EQ(list.events[0].kind, Kind::kStored);
  EXPECT_EQ(list.events[0].node, 1u);
  EXPECT_EQ(list.events[0].salt, 9u);
  EXPECT_EQ(list.events[0].tokens, 2u);
  EXPECT_EQ(list.events[1].kind, Kind::kRemoved);
  EXPECT_EQ(list.events[2].node, 2u);
  EXPECT_EQ(list.tokens, (std::vector<int32_t>{10, 11, 12}));
  EXPECT_TRUE(f.queue.Take().events.empty());
  f.queue.OnRemoved(2);
  f.queue.EndRound();
  EXPECT_EQ(f.notified, 2);
}

TEST(BlockEventQueueTest, WhatFindsNoRoomIsToldAnewOnceTheReaderHasCaughtUp) {
  Fixture f(3);
  for (uint64_t node = 1; node <= 3; ++node) f.queue.OnStored(node, 0, 0, {1});
  EXPECT_TRUE(f.queue.EndRound());
  f.queue.OnRemoved(1);
  EXPECT_TRUE(f.queue.EndRound()) << "dropped";
  EXPECT_EQ(f.overflows, 1);
  f.queue.OnRemoved(2);
  EXPECT_TRUE(f.queue.EndRound()) << "and so is what comes before the reader has caught up";
  EXPECT_EQ(f.overflows, 1);
  EXPECT_EQ(f.queue.Take().events.size(), 3u);
  f.queue.OnStored(4, 0, 0, {1});
  EXPECT_FALSE(f.queue.EndRound()) << "now there is room for all that the cache holds";
  EXPECT_TRUE(f.queue.Take().events.empty());
  f.queue.OnReset();
  f.queue.OnStored(3, 0, 0, {1});
  f.queue.OnStored(4, 0, 0, {1});
  EXPECT_TRUE(f.queue.EndRound());
  const BlockEventList list = f.queue.Take();
  ASSERT_EQ(list.events.size(), 3u);
  EXPECT_EQ(list.events[0].kind, Kind::kReset);
  EXPECT_EQ(f.notified, 2);
}

// A cache of a few blocks that stores and drops them faster than the reader reads.
TEST(BlockEventQueueTest, TheReaderEndsWithWhatTheCacheHolds) {
  constexpr uint64_t kBlocks = 50, kRounds = 20'000;
  std::atomic<int> overflows{0};
  BlockEventQueue queue(
      2 * kBlocks, [] {}, [&] { ++overflows; });
  std::atomic<bool> done{false};
  std::map<uint64_t, int32_t> seen;
  const auto apply = [&] {
    const BlockEventList list = queue.Take();
    size_t token = 0;
    for (const BlockEventList::Event& event : list.events) {
      if (event.kind == Kind::kReset) seen.clear();
      if (event.kind == Kind::kRemoved) seen.erase(event.node);
      if (event.kind == Kind::kStored) seen[event.node] = list.tokens[token++];
    }
    return !list.events.empty();
  };
  std::thread reader([&] {
    while (!done.load()) {
      apply();
      std::this_thread::yield();
    }
  });
  std::map<uint64_t, int32_t> cache;
  const auto end_round = [&] {
    if (queue.EndRound()) return;
    queue.OnReset();
    for (const auto& [node, token] : cache) queue.OnStored(node, 0, 0, {token});
    queue.EndRound();
  };
  for (uint64_t node = 1; node <= kRounds; ++node) {
    cache[node] = static_cast<int32_t>(node * 7);
    queue.OnStored(node, 0, 0, {cache[node]});
    if (node > kBlocks) {
      cache.erase(node - kBlocks);
      queue.OnRemoved(node - kBlocks);
    }
    if (node % 8 == 0) end_round();
  }
  done.store(true);
  reader.join();
  // What was lost last is told with the next rounds.
  for (int round = 0; round < 3; ++round) {
    apply();
    end_round();
  }
  apply();
  EXPECT_EQ(seen, cache);
}

}  // namespace
}  // namespace hadal::kv_events
