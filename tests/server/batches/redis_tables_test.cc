// SPDX-License-Identifier: Apache-2.0
#include "server/batches/redis_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/batches/batch_store.h"
#include "server/batches/store_error.h"
#include "tests/support/fake_redis.h"
#include "tests/support/redis_server.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using testing::FakeRedis;
using ::testing::HasSubstr;
using testing::RedisServer;

class RedisTablesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Installed()) GTEST_SKIP() << "needs redis-server (scripts/bootstrap --test)";
  }
};

std::string Refusal(const BatchOptions& options) { return std::string(BatchStore::Open(options).status().message()); }

TEST_F(RedisTablesTest, ARedisThatDropsKeysIsRefused) {
  for (const char* policy : {"allkeys-lru", "allkeys-lfu", "volatile-ttl"}) {
    const RedisServer redis({"--maxmemory-policy", policy});
    const auto refused = BatchStore::Open({.store = redis.url()});
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.status().message()),
                HasSubstr(absl::StrCat("--batch-store: Redis has the maxmemory-policy '", policy, "'")));
  }
}

TEST_F(RedisTablesTest, APolicyThatChangesLaterIsNoticedOnTheNextConnection) {
  RedisServer redis;
  RedisLink link(redis.endpoint(), base::Clock::Real());
  EXPECT_OK(link.Run({"PING"}));
  EXPECT_TRUE(link.keeps_a_file());
  redis::Client admin(redis.endpoint(), absl::Seconds(30));
  ASSERT_OK(admin.Run("k", {"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"}));
  ASSERT_OK(admin.Run("k", {"CLIENT", "KILL", "TYPE", "normal"}));
  EXPECT_EQ(link.Run({"PING"}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RedisTablesTest, AConnectionThatWasClosedIsReplacedWithoutAnError) {
  RedisServer redis;
  RedisLink link(redis.endpoint(), base::Clock::Real());
  redis::Client admin(redis.endpoint(), absl::Seconds(30));
  for (int i = 0; i < 5; ++i) {
    EXPECT_OK(link.Run({"PING"})) << i;
    ASSERT_OK(admin.Run("k", {"CLIENT", "KILL", "TYPE", "normal"}));
  }
}

TEST_F(RedisTablesTest, WhileItIsAwayNobodyWaitsAndItsReturnIsNoticed) {
  RedisServer redis;
  auto store = BatchStore::Open({.store = redis.url()}).value();
  const auto list = [&] { return store->Run([](Tables& tables) { return tables.files.List("a", {}).status(); }); };
  EXPECT_OK(list());
  redis.Pause();
  EXPECT_FALSE(list().ok());
  const absl::Time before = absl::Now();
  for (int i = 0; i < 50; ++i) {
    const absl::Status away = ClientError(list());
    EXPECT_REASON(away, request::Reason::kStorageUnavailable);
    EXPECT_TRUE(request::GetErrorDetail(away).retry_after.has_value());
    EXPECT_THAT(std::string(away.message()), ::testing::Not(HasSubstr("127.0.0.1")));
  }
  EXPECT_LT(absl::Now() - before, absl::Seconds(40)) << "50 time-outs of 2 s";
  redis.Continue();
  bool back = false;
  for (int i = 0; i < 6000 && !back; ++i) {
    back = list().ok();
    if (!back) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(back);
}

TEST(RedisTablesFakeTest, AnOldRedisIsRefused) {
  const FakeRedis redis([](const std::vector<std::string>&) {
    return testing::Bulk("# Server\r\nredis_version:6.2.14\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n");
  });
  EXPECT_THAT(Refusal({.store = absl::StrCat("redis://127.0.0.1:", redis.port())}),
              HasSubstr("Redis has the version '6.2.14'; batches need 7.0 or newer"));
}

TEST(RedisTablesFakeTest, StartsWithoutItsRedis) {
  const auto store = BatchStore::Open({.store = "redis://127.0.0.1:1"});
  ASSERT_OK(store);
  EXPECT_FALSE((*store)->Run([](Tables& tables) { return tables.files.List("a", {}).status(); }).ok());
}

TEST(BatchOptionsTest, SaysWhichFlagIsWrong) {
  EXPECT_THAT(Refusal({.store = "sqlite:"}), HasSubstr("--batch-store is 'sqlite:'"));
  EXPECT_THAT(Refusal({.store = "redis://:secret@h:0"}), HasSubstr("--batch-store: the Redis URL has a port"));
  EXPECT_THAT(Refusal({.store = "redis://h", .redis = {.password_file = "/missing"}}),
              HasSubstr("--batch-redis-password-file: "));
  EXPECT_THAT(Refusal({.store = "redis://h", .reclaim_after = absl::Seconds(1)}),
              HasSubstr("--batch-reclaim-after is 1s; it must be at least 5s"));
  EXPECT_THAT(Refusal({.store = "redis://h", .max_file_bytes = int64_t{1} << 30}), HasSubstr("--batch-max-file is"));
  EXPECT_EQ(BatchOptions{.store = "sqlite:/a/b"}.Folder(), "/a/b");
}

}  // namespace
}  // namespace hadal::batches
