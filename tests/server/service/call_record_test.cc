// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_record.h"

#include <gtest/gtest.h>

#include <string>

#include "server/request/refusal.h"

namespace hadal::service {
namespace {

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

}  // namespace
}  // namespace hadal::service
