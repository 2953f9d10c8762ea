// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_limits.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using request::Reason;

CallInfo Info() {
  CallInfo info;
  info.arrival = absl::FromUnixSeconds(1000);
  return info;
}

TEST(CallLimitsTest, WithoutHeadersThereIsNoLimit) {
  CallInfo info = Info();
  EXPECT_OK(ReadLimits({}, &info));
  EXPECT_EQ(info.deadline, absl::InfiniteFuture());
  EXPECT_EQ(info.first_token_by, absl::InfiniteFuture());
  EXPECT_EQ(info.gives_up_at, absl::InfiniteFuture());
  EXPECT_TRUE(info.may_wait);
}

TEST(CallLimitsTest, TheTightestDeadlineCounts) {
  CallInfo info = Info();
  info.deadline = info.arrival + absl::Seconds(5);  // grpc-timeout
  EXPECT_OK(ReadLimits({.deadline_ms = "9000"}, &info));
  EXPECT_EQ(info.deadline, info.arrival + absl::Seconds(5));
  EXPECT_OK(ReadLimits({.deadline_ms = "250", .sdk_timeout = "1"}, &info));
  EXPECT_EQ(info.deadline, info.arrival + absl::Milliseconds(250));
  EXPECT_EQ(info.gives_up_at, absl::InfiniteFuture()) << "the SDK's own is not asked beside ours";
}

TEST(CallLimitsTest, SdksAndSchedulersLimitTheFirstToken) {
  CallInfo info = Info();
  EXPECT_OK(ReadLimits({.sdk_timeout = "2.5", .read_timeout = "600.0", .slo_ttft_ms = "800"}, &info));
  EXPECT_EQ(info.gives_up_at, info.arrival + absl::Seconds(2.5));
  EXPECT_EQ(info.first_token_by, info.arrival + absl::Milliseconds(800));
  EXPECT_EQ(info.deadline, absl::InfiniteFuture());
}

TEST(CallLimitsTest, OursMustBeReadableTheirsNeedNot) {
  for (const char* bad : {"0", "-5", "1.5", "abc", "+3", " 5", "1e3", "0x10"}) {
    CallInfo info = Info();
    EXPECT_REASON(ReadLimits({.deadline_ms = bad}, &info), Reason::kOutOfRange) << bad;
  }
  CallInfo info = Info();
  EXPECT_REASON(ReadLimits({.queue = "maybe"}, &info), Reason::kOutOfRange);
  EXPECT_OK(ReadLimits({.sdk_timeout = "NOT_GIVEN", .read_timeout = "-1", .slo_ttft_ms = "nan"}, &info));
  EXPECT_EQ(info.gives_up_at, absl::InfiniteFuture());
  EXPECT_EQ(info.first_token_by, absl::InfiniteFuture());
  EXPECT_OK(ReadLimits({.deadline_ms = "99999999999999999999999"}, &info));
  EXPECT_EQ(info.deadline, absl::InfiniteFuture());
}

TEST(CallLimitsTest, ACallerMaySayThatItDoesNotWait) {
  CallInfo info = Info();
  EXPECT_OK(ReadLimits({.queue = "no"}, &info));
  EXPECT_FALSE(info.may_wait);
  EXPECT_OK(ReadLimits({.queue = "yes"}, &info));
  EXPECT_TRUE(info.may_wait);
}

}  // namespace
}  // namespace hadal::service
