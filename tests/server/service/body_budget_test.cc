// SPDX-License-Identifier: Apache-2.0
#include "server/service/body_budget.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/support/metric_value.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::MetricValue;
using request::Reason;

TEST(BodyBudgetTest, BytesComeBackWhateverHappensToTheLease) {
  BodyBudget budget({.max_bytes = 1000, .small_body_bytes = 0});
  {
    BodyBudget::Lease lease = budget.Open("a").value();
    ASSERT_OK(lease.Resize(400));
    EXPECT_EQ(budget.bytes(), 400);
    ASSERT_OK(lease.Resize(100));
    EXPECT_EQ(budget.bytes(), 100);
    BodyBudget::Lease moved = std::move(lease);
    EXPECT_EQ(lease.bytes(), 0);
    EXPECT_EQ(budget.bytes(), 100);
    BodyBudget::Lease other = budget.Open("a").value();
    ASSERT_OK(other.Resize(50));
    other = std::move(moved);
    EXPECT_EQ(budget.bytes(), 100);
    other.Release();
    EXPECT_EQ(budget.bytes(), 0);
    other.Release();
  }
  EXPECT_EQ(budget.bytes(), 0);
}

TEST(BodyBudgetTest, ARefusedResizeKeepsWhatWasHeldAndTellsTheLimit) {
  BodyBudget budget({.max_bytes = 1000, .small_body_bytes = 0});
  BodyBudget::Lease lease = budget.Open("a").value();
  ASSERT_OK(lease.Resize(300));
  const absl::Status refused = lease.Resize(1200);
  EXPECT_REASON(refused, Reason::kBodyBudgetFull);
  EXPECT_TRUE(request::GetErrorDetail(refused).retry_after.has_value());
  EXPECT_NE(refused.message().find("300 of 1000 bytes, and this one needs 900 more"), absl::string_view::npos)
      << refused;
  EXPECT_EQ(lease.bytes(), 300);
  EXPECT_EQ(budget.bytes(), 300);
  ASSERT_OK(lease.Resize(500));
}

TEST(BodyBudgetTest, OneSenderLeavesRoomForTheNext) {
  BodyBudget budget({.max_bytes = 1000, .small_body_bytes = 0});
  std::vector<BodyBudget::Lease> leases;
  const auto take = [&](std::string_view sender) {
    int64_t taken = 0;
    while (true) {
      BodyBudget::Lease lease = budget.Open(sender).value();
      if (!lease.Resize(10).ok()) return taken;
      taken += 10;
      leases.push_back(std::move(lease));
    }
  };
  EXPECT_EQ(take("greedy"), 500);
  EXPECT_EQ(take("second"), 250);
  EXPECT_EQ(take("greedy"), 0);
  EXPECT_EQ(take("third"), 120);
  leases.clear();
  EXPECT_EQ(take("second"), 500);
}

TEST(BodyBudgetTest, SmallBodiesNeedRoomInTheWholeOnly) {
  BodyBudget budget({.max_bytes = 1000, .small_body_bytes = 100});
  BodyBudget::Lease large = budget.Open("proxy").value();
  ASSERT_OK(large.Resize(500));
  std::vector<BodyBudget::Lease> small;
  for (int i = 0; i < 5; ++i) {
    small.push_back(budget.Open("proxy").value());
    ASSERT_OK(small.back().Resize(100));
  }
  BodyBudget::Lease last = budget.Open("other").value();
  EXPECT_REASON(last.Resize(1), Reason::kBodyBudgetFull);
  small.pop_back();
  EXPECT_REASON(last.Resize(101), Reason::kBodyBudgetFull);
  ASSERT_OK(last.Resize(100));
}

TEST(BodyBudgetTest, UploadsAreSharedUntilTheyHaveArrived) {
  BodyBudget budget({.max_bytes = 1000, .max_uploads = 8, .small_body_bytes = 0});
  std::vector<BodyBudget::Lease> leases;
  for (int i = 0; i < 4; ++i) leases.push_back(budget.Open("greedy").value());
  EXPECT_REASON(budget.Open("greedy").status(), Reason::kBodyBudgetFull);
  BodyBudget::Lease other = budget.Open("other").value();
  leases.front().Arrived();
  leases.front().Arrived();                                                // counts once
  EXPECT_REASON(budget.Open("greedy").status(), Reason::kBodyBudgetFull);  // 3 of its own, 4 left
  other.Release();
  ASSERT_OK(budget.Open("greedy"));
}

TEST(BodyBudgetTest, ABodyThatIsThereIsNoUpload) {
  BodyBudget budget({.max_bytes = 1000, .max_uploads = 1, .small_body_bytes = 0});
  const BodyBudget::Lease upload = budget.Open("a").value();
  BodyBudget::Lease there = budget.OpenArrived("a");
  ASSERT_OK(there.Resize(100));
  there.Arrived();
  EXPECT_EQ(budget.bytes(), 100);
  EXPECT_REASON(there.Resize(501), Reason::kBodyBudgetFull);
  there.Release();
  EXPECT_EQ(budget.bytes(), 0);
}

TEST(BodyBudgetTest, EverySenderMayOpenOne) {
  BodyBudget budget({.max_bytes = 1000, .max_uploads = 1});
  const BodyBudget::Lease one = budget.Open("a").value();
  ASSERT_OK(budget.Open("b"));
  EXPECT_REASON(budget.Open("a").status(), Reason::kBodyBudgetFull);
}

TEST(BodyBudgetTest, MetricsShowBytesUploadsAndRefusals) {
  base::MetricRegistry metrics;
  BodyBudget budget({.max_bytes = 100, .max_uploads = 2, .small_body_bytes = 0, .metrics = &metrics});
  BodyBudget::Lease lease = budget.Open("a").value();
  ASSERT_OK(lease.Resize(40));
  EXPECT_EQ(MetricValue(metrics, "hadal_body_bytes_in_flight"), 40);
  EXPECT_EQ(MetricValue(metrics, "hadal_body_bytes_limit"), 100);
  EXPECT_EQ(MetricValue(metrics, "hadal_body_uploads"), 1);
  EXPECT_FALSE(lease.Resize(200).ok());
  EXPECT_FALSE(lease.Resize(60).ok());
  EXPECT_FALSE(budget.Open("a").ok());
  for (const char* reason : {"bytes", "sender_bytes", "sender_uploads"}) {
    EXPECT_EQ(MetricValue(metrics, std::string("hadal_body_rejections_total{reason=\"") + reason + "\"}"), 1) << reason;
  }
  lease.Arrived();
  EXPECT_EQ(MetricValue(metrics, "hadal_body_uploads"), 0);
  EXPECT_EQ(MetricValue(metrics, "hadal_body_bytes_in_flight"), 40);
}

TEST(BodyBudgetTest, ManyThreadsStayWithinTheLimit) {
  BodyBudget budget({.max_bytes = 1000, .max_uploads = 64});
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, sender = std::to_string(t % 3)] {
      for (int i = 0; i < 2000; ++i) {
        absl::StatusOr<BodyBudget::Lease> lease = budget.Open(sender);
        if (!lease.ok()) continue;
        for (int64_t bytes = 64; bytes < 1024 && lease->Resize(bytes).ok(); bytes *= 2) lease->Arrived();
        if (budget.bytes() > 1000) over.store(true);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(over.load());
  EXPECT_EQ(budget.bytes(), 0);
}

}  // namespace
}  // namespace hadal::service
