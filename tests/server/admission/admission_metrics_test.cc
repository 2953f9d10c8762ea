// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission_metrics.h"

#include "gtest/gtest.h"
#include "tests/support/admission_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::admission {
namespace {

using hadal::testing::AdmissionFixture;
using hadal::testing::MetricValue;
using request::Priority;
using request::Reason;

TEST(AdmissionMetricsTest, CountsAttemptsAndRefusalsByClassAndLength) {
  AdmissionFixture f(/*blocks=*/1000, /*max_queue_requests=*/1);
  const auto ticket = f.controller->TryAdmit({Priority::kHigh, "", "a", /*body_bytes=*/100});
  ASSERT_TRUE(ticket.ok());
  // 0.3 tokens a byte: about 1,200.
  ASSERT_FALSE(f.controller->TryAdmit({Priority::kLow, "", "b", /*body_bytes=*/4000}).ok());
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_admission_attempts_total{class="high",length_class="256"})"), 1);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_admission_attempts_total{class="low",length_class="4k"})"), 1);
  EXPECT_EQ(
      MetricValue(f.metrics,
                  R"(hadal_admission_rejections_total{class="low",length_class="4k",reason="CONNECTION_QUEUE_FULL"})"),
      1);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_retry_after_seconds_count{class="low"})"), 1);
}

TEST(AdmissionMetricsTest, AskingForRoomIsAnAttemptOnlyWhenItIsRefused) {
  AdmissionFixture f(/*blocks=*/1000, /*max_queue_requests=*/1);
  const AdmissionRequest request{Priority::kNormal, "", "a", /*body_bytes=*/100};
  ASSERT_OK(f.controller->CheckRoom(request));
  constexpr const char* kAttempts = R"(hadal_admission_attempts_total{class="normal",length_class="256"})";
  EXPECT_EQ(MetricValue(f.metrics, kAttempts), 0);
  const auto ticket = f.controller->TryAdmit(request);
  ASSERT_OK(ticket);
  EXPECT_FALSE(f.controller->CheckRoom(request).ok());
  EXPECT_EQ(MetricValue(f.metrics, kAttempts), 2);
}

TEST(AdmissionMetricsTest, LengthClassesIncludeTheirBound) {
  base::MetricRegistry registry;
  AdmissionMetrics metrics(&registry);
  for (const int64_t tokens : {1, 256, 257, 1024, 4096, 16384, 16385, 1 << 30}) {
    metrics.CountAttempt(Priority::kBatch, tokens);
  }
  const auto counted = [&](const std::string& length) {
    return MetricValue(registry, "hadal_admission_attempts_total{class=\"batch\",length_class=\"" + length + "\"}");
  };
  EXPECT_EQ(counted("256"), 2);
  EXPECT_EQ(counted("1k"), 2);
  EXPECT_EQ(counted("4k"), 1);
  EXPECT_EQ(counted("16k"), 1);
  EXPECT_EQ(counted("more"), 2);
}

TEST(AdmissionMetricsTest, EveryReasonIsCounted) {
  base::MetricRegistry registry;
  AdmissionMetrics metrics(&registry);
  metrics.CountRefusal(Priority::kNormal, 1, Reason::kDraining, absl::Seconds(2));
  EXPECT_EQ(
      MetricValue(registry, R"(hadal_admission_rejections_total{class="normal",length_class="256",reason="DRAINING"})"),
      1);
  EXPECT_EQ(MetricValue(registry, R"(hadal_retry_after_seconds_sum{class="normal"})"), 2);
}

TEST(AdmissionMetricsTest, LevelsFollowTheQueue) {
  AdmissionFixture f;
  auto request = AdmissionFixture::MakeRequest(/*prompt_tokens=*/9, /*max_tokens=*/5, Priority::kLow);
  ASSERT_OK(f.Submit(request));
  EXPECT_EQ(MetricValue(f.metrics, "hadal_requests_waiting"), 1);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_queue_depth{class="low"})"), 1);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_queue_depth{class="high"})"), 0);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_queue_tokens{class="low"})"), 9);
  f.controller->DrainQueue(0);
  EXPECT_EQ(MetricValue(f.metrics, "hadal_requests_waiting"), 0);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_queue_tokens{class="low"})"), 0);
}

}  // namespace
}  // namespace hadal::admission
