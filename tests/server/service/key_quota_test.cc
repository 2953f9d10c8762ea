// SPDX-License-Identifier: Apache-2.0
#include "server/service/key_quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "server/request/refusal.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using ::testing::HasSubstr;

constexpr absl::Time kStart = absl::UnixEpoch();

std::shared_ptr<KeyQuota> Quota(QuotaLimits limits) { return std::make_shared<KeyQuota>(limits); }

// The hint of a refusal by quota.
absl::Duration HintOf(const absl::Status& status) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  EXPECT_EQ(detail.reason, request::Reason::kTenantQuota) << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  return detail.retry_after.value_or(absl::ZeroDuration());
}

TEST(KeyQuotaTest, CountsRequestsInFlight) {
  const auto quota = Quota({.requests = 2});
  QuotaUse one = quota->Begin(kStart, 100).value();
  QuotaUse two = quota->Begin(kStart, 100).value();
  const absl::Status refused = quota->Begin(kStart, 1).status();
  EXPECT_EQ(HintOf(refused), absl::Seconds(1)) << "nothing is known of the length of requests yet";
  EXPECT_THAT(refused.ToString(), HasSubstr("2 requests in flight, its limit is 2"));
  EXPECT_EQ(HintOf(quota->Check(kStart)), absl::Seconds(1));
  one.End(kStart + absl::Seconds(20), 100);
  EXPECT_OK(quota->Check(kStart));
  EXPECT_OK(quota->Begin(kStart, 1));
}

TEST(KeyQuotaTest, TheHintIsTheTimeInWhichOneOfTheRequestsEnds) {
  const auto quota = Quota({.requests = 2});
  quota->Begin(kStart, 0)->End(kStart + absl::Seconds(20), 0);
  const QuotaUse one = quota->Begin(kStart, 0).value();
  const QuotaUse two = quota->Begin(kStart, 0).value();
  EXPECT_EQ(HintOf(quota->Check(kStart)), absl::Seconds(10));
}

TEST(KeyQuotaTest, BeforeAnyHasEndedTheHintIsAsLongAsTheyRun) {
  const auto quota = Quota({.requests = 2});
  const QuotaUse one = quota->Begin(kStart, 0).value();
  std::optional<QuotaUse> two = quota->Begin(kStart + absl::Seconds(20), 0).value();
  EXPECT_EQ(HintOf(quota->Check(kStart + absl::Seconds(30))), absl::Seconds(10)) << "20 s on average, and two of them";
  two->Cancel();
  two = quota->Begin(kStart + absl::Seconds(30), 0).value();
  EXPECT_EQ(HintOf(quota->Check(kStart + absl::Seconds(30))), absl::Seconds(7.5)) << "30 and 0 s";
  EXPECT_EQ(HintOf(quota->Check(kStart + absl::Hours(1))), absl::Seconds(30)) << "clients obey no more";
}

TEST(KeyQuotaTest, TokensComeBackAtTheRateOfAMinute) {
  const auto quota = Quota({.tokens_per_minute = 600});
  quota->Begin(kStart, 10)->End(kStart, 700);  // more than the whole bucket: it owes 100
  const absl::Status refused = quota->Check(kStart);
  EXPECT_EQ(HintOf(refused), absl::Seconds(10.1));
  EXPECT_THAT(refused.ToString(), HasSubstr("600 tokens a minute"));
  EXPECT_FALSE(quota->Check(kStart + absl::Seconds(9)).ok());
  EXPECT_OK(quota->Check(kStart + absl::Seconds(11)));
}

TEST(KeyQuotaTest, TheBurstIsWhatCanBeSavedUp) {
  const auto quota = Quota({.tokens_per_minute = 60, .burst_tokens = 1000});
  quota->Begin(kStart, 0)->End(kStart, 900);
  EXPECT_OK(quota->Check(kStart)) << "100 of the burst are left";
  quota->Begin(kStart, 0)->End(kStart, 100);
  EXPECT_FALSE(quota->Check(kStart).ok());
  const absl::Time later = kStart + absl::Hours(24);
  quota->Begin(later, 0)->End(later, 1001);
  EXPECT_FALSE(quota->Check(later).ok()) << "a day saves no more than the burst";
}

TEST(KeyQuotaTest, TheHintIsNeverLongerThanClientsObey) {
  const auto quota = Quota({.tokens_per_minute = 60});
  quota->Begin(kStart, 0)->End(kStart, 100000);
  EXPECT_EQ(HintOf(quota->Check(kStart)), absl::Seconds(30));
}

TEST(KeyQuotaTest, APromptCountsFromTheBeginningAndExactlyAtTheEnd) {
  const auto quota = Quota({.tokens_per_minute = 600});
  QuotaUse use = quota->Begin(kStart, 600).value();
  EXPECT_FALSE(quota->Check(kStart).ok());
  use.End(kStart, 100);
  EXPECT_OK(quota->Check(kStart)) << "the estimate was too high";
  quota->Begin(kStart, 0)->End(kStart, 499);
  EXPECT_OK(quota->Check(kStart));
  quota->Begin(kStart, 0)->End(kStart, 1);
  EXPECT_FALSE(quota->Check(kStart).ok());
}

TEST(KeyQuotaTest, ARequestThatNeverBeganCostsNothing) {
  const auto quota = Quota({.requests = 1, .tokens_per_minute = 600});
  quota->Begin(kStart, 600)->Cancel();
  EXPECT_OK(quota->Check(kStart));
}

TEST(KeyQuotaTest, ARequestThatIsDroppedKeepsItsEstimate) {
  const auto quota = Quota({.requests = 1, .tokens_per_minute = 600});
  { const QuotaUse dropped = quota->Begin(kStart, 600).value(); }
  EXPECT_THAT(quota->Check(kStart).ToString(), HasSubstr("tokens a minute"));
}

TEST(KeyQuotaTest, NewLimitsKeepWhatWasUsed) {
  const auto quota = Quota({.tokens_per_minute = 600});
  quota->Begin(kStart, 0)->End(kStart, 600);
  quota->SetLimits({.tokens_per_minute = 6000});
  EXPECT_FALSE(quota->Check(kStart).ok());
  EXPECT_OK(quota->Check(kStart + absl::Seconds(1))) << "it fills faster now";
}

TEST(KeyQuotaTest, ThreadsNeverExceedTheLimit) {
  const auto quota = Quota({.requests = 3});
  std::atomic<int> running{0}, most{0}, begun{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        absl::StatusOr<QuotaUse> use = quota->Begin(kStart, 1);
        if (!use.ok()) continue;
        const int now = ++running;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        ++begun;
        --running;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 3);
  EXPECT_GT(begun, 0);
  EXPECT_OK(quota->Check(kStart));
}

}  // namespace
}  // namespace hadal::service
