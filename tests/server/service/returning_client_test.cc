// SPDX-License-Identifier: Apache-2.0
#include "server/service/returning_client.h"

#include "gtest/gtest.h"

namespace hadal::service {
namespace {

using admission::KeyQuality;
using admission::RetryCaller;

RetryCaller CallerOf(const ReturnHeaders& headers, int64_t body_bytes = 100, std::string_view route = "chat",
                     Protocol protocol = Protocol::kHttp, std::string tenant = "a") {
  CallInfo info;
  info.protocol = protocol;
  info.route = route;
  info.caller.tenant = std::move(tenant);
  NoteReturnHeaders(headers, &info);
  return RetryCallerOf(info, body_bytes);
}

TEST(ReturningClientTest, SenderRouteAndLengthStandForARequestWithoutKey) {
  const RetryCaller caller = CallerOf({});
  EXPECT_EQ(caller.quality, KeyQuality::kShared);
  EXPECT_EQ(caller.attempt, 0);
  EXPECT_EQ(caller.key, CallerOf({}).key);
  EXPECT_NE(caller.key, CallerOf({}, 101).key);
  EXPECT_NE(caller.key, CallerOf({}, 100, "generate").key);
  EXPECT_NE(caller.key, CallerOf({}, 100, "chat", Protocol::kHttp, "b").key);
}

TEST(ReturningClientTest, ATicketComesBeforeAllElse) {
  CallInfo info;
  NoteReturnHeaders({.idempotency_key = "k", .ticket = "t"}, &info);
  EXPECT_EQ(info.ticket, "t");
  info.promise = 12;  // what it was good for
  EXPECT_EQ(RetryCallerOf(info, 100).promise, 12u);
  EXPECT_EQ(CallerOf({}).promise, 0u);
}

TEST(ReturningClientTest, AGrpcCallIsRefusedBeforeItsLengthIsKnown) {
  EXPECT_EQ(CallerOf({}, 0, "chat", Protocol::kGrpc).key, CallerOf({}, 100, "chat", Protocol::kGrpc).key);
}

TEST(ReturningClientTest, AClientThatCountsIsBelieved) {
  EXPECT_EQ(CallerOf({.attempts = "0"}).quality, KeyQuality::kFirst);
  EXPECT_EQ(CallerOf({.attempts = "2"}).quality, KeyQuality::kRetry);
  EXPECT_EQ(CallerOf({.attempts = "2"}).attempt, 2);
  EXPECT_EQ(CallerOf({.attempts = "2"}).key, CallerOf({}).key) << "it is the same request";
  for (const char* nonsense : {"", "-1", "x", "2x", "99999999999"}) {
    EXPECT_EQ(CallerOf({.attempts = nonsense}).quality, KeyQuality::kShared) << nonsense;
    EXPECT_EQ(CallerOf({.attempts = nonsense}).attempt, 0) << nonsense;
  }
}

TEST(ReturningClientTest, AnIdempotencyKeyIsTheRequestsOwn) {
  const RetryCaller caller = CallerOf({.idempotency_key = "k1", .attempts = "1"}, 100);
  EXPECT_EQ(caller.quality, KeyQuality::kOwn);
  EXPECT_EQ(caller.attempt, 1);
  EXPECT_EQ(caller.key, CallerOf({.idempotency_key = "k1"}, 7).key);
  EXPECT_NE(caller.key, CallerOf({.idempotency_key = "k2"}, 100).key);
  EXPECT_NE(caller.key, CallerOf({.idempotency_key = "k1"}, 100, "chat", Protocol::kHttp, "b").key)
      << "nobody takes what was promised to another sender";
}

TEST(ReturningClientTest, AGatewaySaysSoOrItsKeyDoes) {
  EXPECT_FALSE(CallerOf({.client = "browser"}).gateway);
  EXPECT_TRUE(CallerOf({.client = "gateway"}).gateway);
  CallInfo info;
  info.caller.gateway = true;
  NoteReturnHeaders({}, &info);
  EXPECT_TRUE(RetryCallerOf(info, 1).gateway);
}

}  // namespace
}  // namespace hadal::service
