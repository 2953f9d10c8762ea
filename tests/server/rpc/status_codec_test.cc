// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/status_codec.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/request/refusal.h"

namespace hadal::rpc {
namespace {

using request::Reason;

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

template <typename T>
T Unpack(const google::rpc::Status& details) {
  T message;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&message)) return message;
  }
  ADD_FAILURE() << "no " << message.GetTypeName();
  return message;
}

TEST(StatusCodecTest, ARefusalCarriesReasonRetryInfoAndPushback) {
  const absl::Status refusal =
      request::MakeRefusal(Reason::kConnectionQueueFull, "queue full, 5/5 waiting", absl::Milliseconds(2345));
  const grpc::Status status = ToGrpcStatus(refusal, "req-1");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  const google::rpc::Status details = Details(status);
  const auto info = Unpack<google::rpc::ErrorInfo>(details);
  EXPECT_EQ(info.reason(), "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(info.domain(), "hadal");
  EXPECT_EQ(info.metadata().at("request_id"), "req-1");
  const auto retry = Unpack<google::rpc::RetryInfo>(details);
  EXPECT_EQ(retry.retry_delay().seconds(), 2);
  EXPECT_EQ(retry.retry_delay().nanos(), 345000000);
  EXPECT_EQ(RetryPushback(refusal), "2345");
}

TEST(StatusCodecTest, AKeyThatIsOverItsQuotaIsToldSoInAQuotaFailure) {
  const absl::Status over = request::MakeRefusal(Reason::kTenantQuota, "3 in flight", absl::Seconds(4));
  const grpc::Status status = ToGrpcStatus(over, "req-1");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto failure = Unpack<google::rpc::QuotaFailure>(Details(status));
  ASSERT_EQ(failure.violations_size(), 1);
  EXPECT_EQ(failure.violations(0).subject(), "api_key");
  EXPECT_EQ(failure.violations(0).description(), "3 in flight");
  EXPECT_EQ(Unpack<google::rpc::RetryInfo>(Details(status)).retry_delay().seconds(), 4);
  const absl::Status full = request::MakeRefusal(Reason::kConnectionQueueFull, "full", absl::Seconds(4));
  const google::rpc::Status others = Details(ToGrpcStatus(full, "req-1"));
  for (const auto& any : others.details()) {
    EXPECT_FALSE(any.Is<google::rpc::QuotaFailure>()) << "the server's limit is no quota of the caller";
  }
}

TEST(StatusCodecTest, ARefusalSaysWhetherAPlaceIsHeld) {
  const auto details_of = [](const request::RetryHint& hint) {
    return Details(ToGrpcStatus(request::MakeBusy(Reason::kConnectionQueueFull, "queue full", hint), "req-1"));
  };
  const google::rpc::Status held =
      details_of({.after = absl::Seconds(3), .estimated_wait = absl::Milliseconds(2500), .promised = true});
  EXPECT_EQ(Unpack<google::rpc::ErrorInfo>(held).metadata().at("promise"), "held");
  EXPECT_EQ(Unpack<google::rpc::ErrorInfo>(held).metadata().at("estimated_wait_ms"), "2500");
  EXPECT_EQ(Unpack<google::rpc::RetryInfo>(held).retry_delay().seconds(), 3);
  const request::RetryHint in_vain = {.after = absl::Seconds(25), .should_retry = false};
  EXPECT_EQ(Unpack<google::rpc::ErrorInfo>(details_of(in_vain)).metadata().at("promise"), "none");
  EXPECT_EQ(details_of(in_vain).details_size(), 1) << "RetryInfo is taken as leave to retry";
  EXPECT_EQ(RetryPushback(request::MakeBusy(Reason::kConnectionQueueFull, "queue full", in_vain)), "-1");
}

TEST(StatusCodecTest, TheCodeOfCapacityRefusalsIsTheOperatorsChoice) {
  const auto exhausted = [](const absl::Status& status) {
    return ToGrpcStatus(status, "req-1", absl::StatusCode::kResourceExhausted);
  };
  for (const Reason reason : {Reason::kConnectionQueueFull, Reason::kConnectionLimit, Reason::kWorkerQueueFull,
                              Reason::kQueueTokensFull, Reason::kGrammarQueueFull, Reason::kGpuMemoryExhausted,
                              Reason::kBodyBudgetFull, Reason::kPreemptedInQueue, Reason::kWaitLimit}) {
    const absl::Status refusal = request::MakeRefusal(reason, "full", absl::Milliseconds(2345));
    const grpc::Status status = exhausted(refusal);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << request::ReasonName(reason);
    EXPECT_EQ(status.error_message(), ToGrpcStatus(refusal, "req-1").error_message());
    const google::rpc::Status details = Details(status);
    EXPECT_EQ(details.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
    EXPECT_EQ(Unpack<google::rpc::ErrorInfo>(details).reason(), request::ReasonName(reason));
    EXPECT_EQ(Unpack<google::rpc::RetryInfo>(details).retry_delay().seconds(), 2);
  }
  for (const Reason reason : {Reason::kModelLoading, Reason::kDraining, Reason::kDeviceFault}) {
    EXPECT_EQ(exhausted(request::MakeRefusal(reason, "later", absl::Seconds(1))).error_code(),
              grpc::StatusCode::UNAVAILABLE)
        << request::ReasonName(reason) << ": another server may have room";
  }
  EXPECT_EQ(exhausted(request::MakeError(Reason::kInvalidRequest, "bad")).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(exhausted(absl::OkStatus()).ok());
}

TEST(StatusCodecTest, AnErrorOfTheCallerForbidsTheRetry) {
  const absl::Status error = request::MakeError(Reason::kContextLengthExceeded, "too long", "messages");
  const grpc::Status status = ToGrpcStatus(error, "req-2");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const google::rpc::Status details = Details(status);
  EXPECT_EQ(details.details_size(), 1);  // no RetryInfo
  EXPECT_EQ(Unpack<google::rpc::ErrorInfo>(details).metadata().at("param"), "messages");
  EXPECT_EQ(RetryPushback(error), "-1");
}

TEST(StatusCodecTest, AStatusWithoutDetailIsInternal) {
  EXPECT_EQ(ToGrpcStatus(absl::UnknownError("x"), "r").error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), "r").ok());
}

}  // namespace
}  // namespace hadal::rpc
