// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_record.h"

#include <gtest/gtest.h>

#include <string>

#include "server/request/refusal.h"
#include "tests/support/metric_value.h"

namespace hadal::service {
namespace {

using hadal::testing::MetricValue;
using request::MakeError;
using request::Reason;

std::string Sender(const std::string& tenant, const std::string& network) {
  CallInfo info;
  info.caller.tenant = tenant;
  info.network = network;
  return SenderOf(info);
}

TEST(CallRecordTest, ATenantIsOneSenderAndNoNetwork) {
  EXPECT_EQ(Sender("acme", "192.0.2.7"), Sender("acme", "192.0.2.8"));
  EXPECT_NE(Sender("", "192.0.2.7"), Sender("", "192.0.2.8"));
  EXPECT_NE(Sender("192.0.2.7", "x"), Sender("", "192.0.2.7"));
}

TEST(CallRecordTest, EachKindOfEndHasItsOutcome) {
  EXPECT_EQ(OutcomeOf(absl::OkStatus()), "ok");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kCancelled, "")), "cancelled");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kSlowReader, "")), "cancelled");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kInvalidRequest, "")), "invalid");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kRequestTimeout, "")), "invalid");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kGrammarQueueFull, "")), "shed");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kBodyBudgetFull, "")), "shed");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kTenantQuota, "")), "shed");
  EXPECT_EQ(OutcomeOf(MakeError(Reason::kDeadlineExpired, "")), "error");
}

TEST(CallRecordTest, ARefusalAtTheDoorIsTimed) {
  base::MetricRegistry registry;
  CallMetrics metrics(&registry);
  CallInfo info;
  info.protocol = Protocol::kGrpc;
  CallOutcome refused{.status = MakeError(Reason::kWaitLimit, ""), .refused_after = absl::Microseconds(30)};
  RecordCall(info, refused, &metrics);
  refused.refused_after = absl::InfiniteDuration();  // it was in the queue
  RecordCall(info, refused, &metrics);
  RecordCall(info, {.status = MakeError(Reason::kInvalidRequest, ""), .refused_after = absl::Microseconds(30)},
             &metrics);
  EXPECT_EQ(MetricValue(registry, R"(hadal_rejection_latency_seconds_count{protocol="grpc"})"), 1);
  EXPECT_EQ(MetricValue(registry, R"(hadal_rejection_latency_seconds_bucket{protocol="grpc",le="2e-05"})"), 0);
  EXPECT_EQ(MetricValue(registry, R"(hadal_rejection_latency_seconds_bucket{protocol="grpc",le="5e-05"})"), 1);
}

}  // namespace
}  // namespace hadal::service
