// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/retry_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/retry_cases.h"

namespace hadal::bench {
namespace {

using hadal::testing::Answer;
using hadal::testing::RetryWaits;

CallResult Refusal(RetryAdvice advice = {}, int status = 503) {
  CallResult result;
  result.end = CallEnd::kRefused;
  result.status = status;
  result.reason = "CONNECTION_QUEUE_FULL";
  result.message = "Server busy (服务器繁忙请稍后重试): queue full";
  result.advice = std::move(advice);
  return result;
}

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;

auto Within(double low, double high) { return AllOf(Ge(low), Le(high)); }

// What a transport makes of the answer on the wire.
CallResult Seen(Answer answer, bool over_grpc) {
  CallResult result;
  if (answer == Answer::kFault) {
    result.status = 500;
    result.advice.should_retry = "false";
  } else if (answer == Answer::kPromise) {
    result = Refusal({.retry_after = "3", .retry_after_ms = "2400", .should_retry = "true", .promise = "held"});
  } else {
    result = Refusal({.retry_after = "25", .retry_after_ms = "25000", .should_retry = "false", .promise = "none"});
  }
  if (!over_grpc) return result;
  result.status = 0;
  result.grpc_code = answer == Answer::kFault ? 13 : 14;
  result.advice = {.pushback_ms = answer == Answer::kPromise ? 2400 : -1};
  return result;
}

TEST(RetryPolicyTest, EveryModelDoesWhatTheTableSays) { hadal::testing::ExpectRetryCases(Seen); }

TEST(RetryPolicyTest, NoneNeverReturns) { EXPECT_THAT(RetryWaits("none", Refusal()), IsEmpty()); }

TEST(RetryPolicyTest, ObeyTakesMillisecondsBeforeSeconds) {
  EXPECT_THAT(RetryWaits("obey", Refusal({.retry_after = "3", .retry_after_ms = "2417"})),
              ElementsAre(2.417, 2.417, 2.417, 2.417));
  EXPECT_THAT(RetryWaits("obey", Refusal({.retry_after = "3"}), 2), ElementsAre(3));
  EXPECT_THAT(RetryWaits("obey", Refusal({.retry_after = "3", .should_retry = "false"})), IsEmpty());
  EXPECT_THAT(RetryWaits("obey", Refusal({.pushback_ms = 1500}), 2), ElementsAre(1.5));
  EXPECT_THAT(RetryWaits("obey", Refusal({.retry_after = "1.5"}), 2), ElementsAre(1.5));
  EXPECT_THAT(RetryWaits("obey", Refusal({.retry_after = "inf"}), 2), ElementsAre(Within(0.375, 0.5)));
  EXPECT_THAT(RetryWaits("obey", Refusal({.pushback_ms = -1})), IsEmpty());
}

TEST(RetryPolicyTest, ObeyBacksOffWithoutAHint) {
  EXPECT_THAT(RetryWaits("obey", Refusal(), 7), ElementsAre(Within(0.375, 0.5), Within(0.75, 1), Within(1.5, 2),
                                                            Within(3, 4), Within(6, 8), Within(6, 8)));
  CallResult bad_request;
  bad_request.status = 400;
  EXPECT_THAT(RetryWaits("obey", bad_request), IsEmpty());
}

TEST(RetryPolicyTest, Urllib3SleepsWholeSecondsAndRaisesOnFractions) {
  EXPECT_THAT(RetryWaits("urllib3", Refusal({.retry_after = "4", .retry_after_ms = "3100"})),
              ElementsAre(4, 4, 4, 4, 4));
  EXPECT_THAT(RetryWaits("urllib3", Refusal()), ElementsAre(0, 1, 2, 4, 8));
  EXPECT_THAT(RetryWaits("urllib3", Refusal({.retry_after = "1.5"})), IsEmpty());
  EXPECT_THAT(RetryWaits("urllib3", Refusal({}, 429)), IsEmpty());  // not in the list, no header
  EXPECT_THAT(RetryWaits("urllib3", Refusal({.retry_after = "2"}, 429), 2),
              ElementsAre(2));  // the header is honoured on 429
  EXPECT_THAT(RetryWaits("urllib3", Refusal({.retry_after = "Thu, 01 Jan 1970 00:00:00 GMT"}), 2), ElementsAre(0));
}

TEST(RetryPolicyTest, TheTextMatcherReadsTheMessageOnly) {
  EXPECT_THAT(RetryWaits("text", Refusal({.retry_after = "20", .should_retry = "false"})),
              ElementsAre(Within(0.45, 0.55), Within(0.9, 1.1), Within(1.8, 2.2), Within(3.6, 4.4)));
  CallResult english = Refusal();
  english.message = "Server busy";
  EXPECT_THAT(RetryWaits("text", english), IsEmpty());
  EXPECT_THAT(RetryWaits("backoff", english), ::testing::SizeIs(4)) << "for it any refusal will do";
  EXPECT_THAT(RetryWaits("text", Refusal(), 9).back(), Le(30));
}

TEST(RetryPolicyTest, ImmediateReturnsAtOnce) {
  EXPECT_THAT(RetryWaits("immediate", Refusal({.retry_after = "20"})), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(RetryWaits("immediate", CallResult{.status = 500}), IsEmpty());
}

TEST(RetryPolicyTest, GrpcObeysPushbackAndBacksOffWithFullJitter) {
  CallResult refused = Refusal({.pushback_ms = 400}, 0);
  refused.grpc_code = 14;
  EXPECT_THAT(RetryWaits("grpc", refused), ElementsAre(0.4, 0.4, 0.4, 0.4));
  EXPECT_THAT(RetryWaits("grpc", refused, 50), ::testing::SizeIs(4));  // above 5 attempts count as 5
  refused.advice.pushback_ms = -1;
  EXPECT_THAT(RetryWaits("grpc", refused), IsEmpty());
  refused.advice.pushback_ms.reset();
  EXPECT_THAT(RetryWaits("grpc", refused), ElementsAre(Within(0, 0.5), Within(0, 1), Within(0, 2), Within(0, 4)));
  refused.grpc_code = 3;
  EXPECT_THAT(RetryWaits("grpc", refused), IsEmpty());
}

TEST(RetryPolicyTest, GrpcStopsReturningWhenTheThrottleIsHalfEmpty) {
  const auto policy = MakeRetryPolicy("grpc", 0);
  std::mt19937_64 random(1);
  int returned = 0;
  for (int i = 0; i < 100; ++i) returned += (*policy)->NextDelay(Refusal(), 1, random).has_value() ? 1 : 0;
  EXPECT_EQ(returned, 49);
  (*policy)->OnServed();
  for (int i = 0; i < 60; ++i) (*policy)->OnServed();
  EXPECT_TRUE((*policy)->NextDelay(Refusal(), 1, random).has_value());
}

TEST(RetryPolicyTest, UnknownModelsAreNamed) {
  EXPECT_THAT(std::string(MakeRetryPolicy("polite", 0).status().message()),
              ::testing::HasSubstr("obey, urllib3, backoff, text"));
}

}  // namespace
}  // namespace hadal::bench
