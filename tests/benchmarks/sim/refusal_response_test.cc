// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/refusal_response.h"

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/support/retry_cases.h"

namespace hadal::sim {
namespace {

using hadal::testing::Answer;
using request::Reason;

absl::Status Refusal(Answer answer) {
  switch (answer) {
    case Answer::kPromise:
      return request::MakeBusy(Reason::kConnectionQueueFull, "full",
                               {.after = absl::Milliseconds(2400), .promised = true});
    case Answer::kSurplus:
      return request::MakeBusy(Reason::kWaitLimit, "full", {.after = absl::Seconds(25), .should_retry = false});
    case Answer::kFault:
      break;
  }
  return request::MakeError(Reason::kInternal, "failed");
}

TEST(RefusalResponseTest, EveryModelDoesAsInHadalBench) {
  hadal::testing::ExpectRetryCases([](Answer answer, bool over_grpc) {
    return RefusalResponse(Refusal(answer), over_grpc ? Protocol::kGrpc : Protocol::kHttp);
  });
}

TEST(RefusalResponseTest, ACallerOverHttpSeesReasonAndHeaders) {
  const bench::CallResult seen = RefusalResponse(Refusal(Answer::kPromise), Protocol::kHttp);
  EXPECT_EQ(seen.end, bench::CallEnd::kRefused);
  EXPECT_EQ(seen.status, 503);
  EXPECT_EQ(seen.grpc_code, -1);
  EXPECT_EQ(seen.reason, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(seen.advice.retry_after, "3");
  EXPECT_EQ(seen.advice.retry_after_ms, "2400");
  EXPECT_EQ(seen.advice.should_retry, "true");
  EXPECT_EQ(seen.advice.promise, "held");
  const bench::CallResult fault = RefusalResponse(Refusal(Answer::kFault), Protocol::kHttp);
  EXPECT_EQ(fault.end, bench::CallEnd::kFailed);
  EXPECT_EQ(fault.status, 500);
  EXPECT_EQ(fault.advice.retry_after, std::nullopt);
}

TEST(RefusalResponseTest, ACallerOverGrpcSeesCodeAndPushback) {
  const bench::CallResult seen = RefusalResponse(Refusal(Answer::kPromise), Protocol::kGrpc);
  EXPECT_EQ(seen.status, 0);
  EXPECT_EQ(seen.grpc_code, 14);
  EXPECT_EQ(seen.advice.pushback_ms, 2400);
  EXPECT_EQ(RefusalResponse(Refusal(Answer::kSurplus), Protocol::kGrpc).advice.pushback_ms, -1);
}

}  // namespace
}  // namespace hadal::sim
