// SPDX-License-Identifier: Apache-2.0
#include "server/redis/redis_url.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::redis {
namespace {

TEST(RedisUrlTest, ReadsAllItsParts) {
  const auto url = ParseRedisUrl("redis://me:p%40ss@cache.local:6380/3");
  ASSERT_OK(url);
  EXPECT_EQ(url->host, "cache.local");
  EXPECT_EQ(url->port, 6380);
  EXPECT_EQ(url->user, "me");
  EXPECT_EQ(url->password, "p@ss");
  EXPECT_EQ(url->db, 3);
  EXPECT_EQ(ParseRedisUrl("redis://:secret@h")->password, "secret");
  EXPECT_EQ(ParseRedisUrl("redis://[::1]:7000")->host, "::1");
  EXPECT_EQ(ParseRedisUrl("redis://[::1]:7000")->port, 7000);
  EXPECT_EQ(ParseRedisUrl("redis://h")->port, 6379);
  EXPECT_FALSE(url->tls);
  EXPECT_TRUE(ParseRedisUrl("rediss://h")->tls);
}

TEST(RedisUrlTest, SaysWhatIsWrongAndNoPassword) {
  for (const char* text :
       {"redisx://secret@h", "http://secret@h", "redis://u:secret%4@h", "redis://:secret@", "redis://:secret@h:0",
        "redis://:secret@h:70000", "redis://:secret@h/x", "redis://:secret@[::1"}) {
    const auto url = ParseRedisUrl(text);
    EXPECT_EQ(url.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_FALSE(absl::StrContains(url.status().message(), "secret")) << text;
  }
}

TEST(RedisSlotTest, IsThatOfTheClusterSpecification) {
  EXPECT_EQ(RedisSlot("123456789"), 0x31c3 % 16384) << "the check value of CRC-16/XMODEM";
  EXPECT_EQ(RedisSlot("foo"), 12182);
  EXPECT_EQ(RedisSlot("{foo}:bar"), RedisSlot("foo")) << "a hash tag";
  EXPECT_NE(RedisSlot("{}foo"), RedisSlot("{}bar")) << "an empty tag is none";
}

}  // namespace
}  // namespace hadal::redis
