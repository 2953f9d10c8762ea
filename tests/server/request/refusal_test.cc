// SPDX-License-Identifier: Apache-2.0
#include "server/request/refusal.h"

#include <set>

#include "gtest/gtest.h"

namespace hadal::request {
namespace {

using Code = absl::StatusCode;

TEST(RefusalTest, DetailSurvivesTheStatus) {
  const absl::Status error = MakeError(Reason::kOutOfRange, "temperature is 3, limit 2", "temperature");
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  EXPECT_EQ(error.message(), "temperature is 3, limit 2");
  const ErrorDetail detail = GetErrorDetail(error);
  EXPECT_EQ(detail.reason, Reason::kOutOfRange);
  EXPECT_EQ(detail.param, "temperature");
  EXPECT_FALSE(detail.retry_after.has_value());
}

TEST(RefusalTest, RefusalCarriesTheHint) {
  const absl::Status refusal = MakeRefusal(Reason::kDraining, "going down", absl::Milliseconds(1250));
  EXPECT_EQ(refusal.code(), Code::kUnavailable);
  EXPECT_EQ(GetErrorDetail(refusal).retry_after, absl::Milliseconds(1250));
}

TEST(RefusalTest, ParamMayHoldTheSeparator) {
  EXPECT_EQ(GetErrorDetail(MakeError(Reason::kInvalidRequest, "m", "a|b")).param, "a|b");
}

TEST(RefusalTest, BusyMessageHoldsTheTextThatClientsSearch) {
  const absl::Status busy = MakeBusy(Reason::kConnectionQueueFull, "queue full, 512/512 waiting", absl::Seconds(2.4));
  EXPECT_EQ(busy.message(), "Server busy (服务器繁忙请稍后重试): queue full, 512/512 waiting; retry in 2.4 s");
}

TEST(RefusalTest, ABusyServerSaysWhatItKnowsOfTheWait) {
  const ErrorDetail promised =
      GetErrorDetail(MakeBusy(Reason::kGpuMemoryExhausted, "no room",
                              {.after = absl::Seconds(3), .estimated_wait = absl::Seconds(2.5), .promised = true}));
  EXPECT_EQ(promised.retry_after, absl::Seconds(3));
  EXPECT_EQ(promised.estimated_wait, absl::Seconds(2.5));
  EXPECT_TRUE(promised.promised);
  EXPECT_TRUE(promised.should_retry);
  const absl::Status surplus =
      MakeBusy(Reason::kConnectionQueueFull, "queue full", {.after = absl::Seconds(25), .should_retry = false});
  EXPECT_EQ(surplus.message(), "Server busy (服务器繁忙请稍后重试): queue full; no room expected for 25.0 s");
  EXPECT_FALSE(GetErrorDetail(surplus).promised);
  EXPECT_FALSE(GetErrorDetail(surplus).should_retry);
  EXPECT_FALSE(GetErrorDetail(surplus).estimated_wait.has_value());
}

TEST(RefusalTest, ATicketGoesWithThePromise) {
  const absl::Status busy = MakeBusy(Reason::kConnectionQueueFull, "queue full",
                                     {.after = absl::Seconds(3), .promised = true, .ticket = "AbC-_9"});
  EXPECT_EQ(GetErrorDetail(busy).ticket, "AbC-_9");
  EXPECT_EQ(GetErrorDetail(MakeError(Reason::kInternal, "m", "p")).ticket, "");
}

TEST(RefusalTest, PlainStatusIsMappedFromItsCode) {
  EXPECT_EQ(GetErrorDetail(absl::CancelledError("x")).reason, Reason::kCancelled);
  EXPECT_EQ(GetErrorDetail(absl::DeadlineExceededError("x")).reason, Reason::kDeadlineExpired);
  EXPECT_EQ(GetErrorDetail(absl::DataLossError("x")).reason, Reason::kInternal);
  EXPECT_EQ(GetErrorDetail(absl::OkStatus()).reason, Reason::kNone);
}

TEST(RefusalTest, ForeignPayloadUnderOurUrlIsIgnored) {
  absl::Status status = absl::InternalError("x");
  status.SetPayload("hadal/error-detail", absl::Cord("999|-|"));
  EXPECT_EQ(GetErrorDetail(status).reason, Reason::kInternal);
}

TEST(StatusMapTest, EveryReasonHasItsOwnNameAndAWireForm) {
  std::set<std::string_view> names;
  for (int i = 0; i < kNumReasons; ++i) {
    const Reason reason = static_cast<Reason>(i);
    EXPECT_TRUE(names.insert(ReasonName(reason)).second) << ReasonName(reason);
    if (reason != Reason::kNone) {
      EXPECT_GE(WireErrorFor(reason).http_status, 400);
      EXPECT_FALSE(WireErrorFor(reason).error_type.empty());
    }
  }
}

TEST(StatusMapTest, FollowsTheDocumentedTable) {
  const auto expect = [](Reason reason, Code code, int http) {
    EXPECT_EQ(WireErrorFor(reason).code, code) << ReasonName(reason);
    EXPECT_EQ(WireErrorFor(reason).http_status, http) << ReasonName(reason);
  };
  expect(Reason::kConnectionQueueFull, Code::kUnavailable, 503);
  expect(Reason::kQueueTokensFull, Code::kUnavailable, 503);
  expect(Reason::kGrammarQueueFull, Code::kUnavailable, 503);
  expect(Reason::kGpuMemoryExhausted, Code::kUnavailable, 503);
  expect(Reason::kBodyBudgetFull, Code::kUnavailable, 503);
  expect(Reason::kModelLoading, Code::kUnavailable, 503);
  expect(Reason::kDraining, Code::kUnavailable, 503);
  expect(Reason::kDeviceFault, Code::kUnavailable, 503);
  expect(Reason::kDeadlineExpired, Code::kDeadlineExceeded, 504);
  expect(Reason::kRequestTimeout, Code::kDeadlineExceeded, 408);
  expect(Reason::kContextLengthExceeded, Code::kInvalidArgument, 400);
  expect(Reason::kRequestNeverFits, Code::kInvalidArgument, 400);
  expect(Reason::kInvalidRequest, Code::kInvalidArgument, 400);
  expect(Reason::kOutOfRange, Code::kInvalidArgument, 422);
  expect(Reason::kModelNotFound, Code::kNotFound, 404);
  expect(Reason::kMethodNotAllowed, Code::kUnimplemented, 405);
  expect(Reason::kRequestNotFound, Code::kNotFound, 404);
  expect(Reason::kNotThinking, Code::kFailedPrecondition, 409);
  expect(Reason::kUnauthenticated, Code::kUnauthenticated, 401);
  expect(Reason::kPermissionDenied, Code::kPermissionDenied, 403);
  expect(Reason::kTenantQuota, Code::kResourceExhausted, 429);
  expect(Reason::kBodyTooLarge, Code::kResourceExhausted, 413);
  expect(Reason::kHeadersTooLarge, Code::kResourceExhausted, 431);
  expect(Reason::kUnsupported, Code::kUnimplemented, 501);
  expect(Reason::kCancelled, Code::kCancelled, 499);
  expect(Reason::kInternal, Code::kInternal, 500);
}

TEST(StatusMapTest, OnlyCapacityReasonsFollowTheOverloadStatus) {
  EXPECT_TRUE(WireErrorFor(Reason::kConnectionQueueFull).capacity);
  EXPECT_TRUE(WireErrorFor(Reason::kQueueTokensFull).capacity);
  EXPECT_TRUE(WireErrorFor(Reason::kGpuMemoryExhausted).capacity);
  EXPECT_FALSE(WireErrorFor(Reason::kDraining).capacity);
  EXPECT_FALSE(WireErrorFor(Reason::kModelLoading).capacity);
  EXPECT_FALSE(WireErrorFor(Reason::kTenantQuota).capacity);
}

}  // namespace
}  // namespace hadal::request
