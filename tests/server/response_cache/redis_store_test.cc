// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/redis_store.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_redis.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

using testing::Bulk;
using testing::FakeRedis;
using ::testing::HasSubstr;

const CacheKey kKey(32, 'k');

TEST(RedisStoreTest, LogsInAndReadsAndWrites) {
  std::vector<std::vector<std::string>> seen;
  {
    FakeRedis redis([&](const std::vector<std::string>& words) -> std::string {
      seen.push_back(words);
      return words[0] == "GET" ? Bulk(std::string("a\0b", 3)) : "+OK\r\n";
    });
    redis::Endpoint endpoint = redis.endpoint();
    endpoint.url.user = "me";
    endpoint.url.password = "secret";
    endpoint.url.db = 2;
    const auto connection = MakeRedisStore(endpoint)->Connect(absl::Seconds(20));
    EXPECT_OK(connection->Put(kKey, std::string_view("x\0y", 3), absl::Seconds(60)));
    EXPECT_EQ(connection->Get(kKey).value(), std::string("a\0b", 3));
    EXPECT_EQ(redis.connections(), 1);
  }
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0], (std::vector<std::string>{"AUTH", "me", "secret"}));
  EXPECT_EQ(seen[1], (std::vector<std::string>{"SELECT", "2"}));
  EXPECT_EQ(seen[2][2], std::string("x\0y", 3));
  EXPECT_EQ(seen[2][3], "PX");
  EXPECT_EQ(seen[2][4], "60000");
  EXPECT_EQ(seen[3][1], seen[2][1]);
}

TEST(RedisStoreTest, WhatIsNotThereIsNotFoundAndErrorsAreTold) {
  std::atomic<bool> loading{false};
  FakeRedis redis([&](const std::vector<std::string>&) -> std::string {
    return loading ? "-LOADING Redis is loading the dataset in memory\r\n" : "$-1\r\n";
  });
  const auto connection = MakeRedisStore(redis.endpoint())->Connect(absl::Seconds(20));
  EXPECT_TRUE(absl::IsNotFound(connection->Get(kKey).status()));
  loading = true;
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
  EXPECT_THAT(std::string(connection->Put(kKey, "x", absl::InfiniteDuration()).message()), HasSubstr("LOADING"));
  EXPECT_EQ(redis.connections(), 1) << "it is still there";
}

TEST(RedisStoreTest, FollowsAMoveAndRemembersIt) {
  std::atomic<int> at_first{0}, at_second{0};
  FakeRedis second([&](const std::vector<std::string>&) {
    ++at_second;
    return Bulk("here");
  });
  FakeRedis first([&](const std::vector<std::string>&) {
    ++at_first;
    return absl::StrCat("-MOVED 7 127.0.0.1:", second.port(), "\r\n");
  });
  const auto connection = MakeRedisStore(first.endpoint())->Connect(absl::Seconds(20));
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(at_first, 1);
  EXPECT_EQ(at_second, 2);
}

TEST(RedisStoreTest, AsksWhereASlotIsOnItsWay) {
  // Only a command behind ASKING is served.
  std::atomic<bool> asking{false};
  FakeRedis second([&](const std::vector<std::string>& words) -> std::string {
    if (words[0] == "ASKING") {
      asking = true;
      return "+OK\r\n";
    }
    return asking.exchange(false) ? Bulk("here") : "-MOVED 7 127.0.0.1:1\r\n";
  });
  std::atomic<int> at_first{0};
  FakeRedis first([&](const std::vector<std::string>&) {
    ++at_first;
    return absl::StrCat("-ASK 7 127.0.0.1:", second.port(), "\r\n");
  });
  const auto connection = MakeRedisStore(first.endpoint())->Connect(absl::Seconds(20));
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(at_first, 2) << "the slot has not moved yet";
}

TEST(RedisStoreTest, AsksAnotherNodeWhileTheFirstOneIsAway) {
  // The second node has everything, as a cluster's other node has after a failover.
  std::atomic<int> at_second{0};
  FakeRedis second([&](const std::vector<std::string>&) {
    ++at_second;
    return Bulk("here");
  });
  auto first = std::make_unique<FakeRedis>(
      [&](const std::vector<std::string>&) { return absl::StrCat("-MOVED 7 127.0.0.1:", second.port(), "\r\n"); });
  const auto connection = MakeRedisStore(first->endpoint())->Connect(absl::Seconds(20));
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(connection->Get(CacheKey(32, 'l')).value(), "here");
  first = nullptr;
  EXPECT_EQ(connection->Get(kKey).value(), "here") << "what another node has does not hang on the first one";
  EXPECT_FALSE(connection->Get(CacheKey(32, 'm')).ok()) << "this is how it is noticed";
  EXPECT_EQ(connection->Get(CacheKey(32, 'm')).value(), "here");
  EXPECT_EQ(at_second, 4);
}

TEST(RedisStoreTest, NodesThatPointAtEachOtherAreLeft) {
  std::atomic<int> port{0};
  FakeRedis redis([&](const std::vector<std::string>&) { return absl::StrCat("-MOVED 7 :", port.load(), "\r\n"); });
  port = redis.port();
  const auto connection = MakeRedisStore(redis.endpoint())->Connect(absl::Seconds(20));
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
}

TEST(RedisStoreTest, AReplyThatIsLateIsNotTakenForTheNextOnes) {
  std::atomic<bool> silent{true};
  FakeRedis redis([&](const std::vector<std::string>&) { return silent ? std::string() : Bulk("right"); });
  const auto connection = MakeRedisStore(redis.endpoint())->Connect(absl::Seconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(connection->Get(kKey).status()));
  silent = false;
  EXPECT_EQ(connection->Get(kKey).value(), "right");
  EXPECT_EQ(redis.connections(), 2);
}

TEST(RedisStoreTest, OneThatIsNotThereIsUnavailable) {
  const auto connection = MakeRedisStore({.url = {.host = "127.0.0.1", .port = 1}})->Connect(absl::Seconds(20));
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
}

}  // namespace
}  // namespace hadal::response_cache
