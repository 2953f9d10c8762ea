// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission_metrics.h"

#include <string>
#include <vector>

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

TEST(AdmissionMetricsTest, EachClassHasItsOwnPredictedWait) {
  AdmissionFixture f;
  const auto wait_of = [&](const std::string& name) {
    return MetricValue(f.metrics, "hadal_predicted_wait_seconds{class=\"" + name + "\"}");
  };
  EXPECT_EQ(wait_of("normal"), 0) << "nothing has run";
  f.PublishRunning(8);
  const double without_queue = wait_of("normal");
  EXPECT_GT(without_queue, 0) << "the batch is full, though nobody waits";
  std::vector<Ticket> waiting;
  for (int i = 0; i < 4; ++i) waiting.push_back(*f.Admit(/*body_bytes=*/100, Priority::kNormal));
  EXPECT_DOUBLE_EQ(wait_of("high"), without_queue) << "it goes before them";
  EXPECT_GT(wait_of("normal"), without_queue + 1);
  EXPECT_EQ(f.controller->GetLoad().predicted_wait_seconds, wait_of("normal"));
  for (int i = 0; i < 400; ++i) waiting.push_back(*f.Admit(/*body_bytes=*/100, Priority::kNormal));
  EXPECT_EQ(wait_of("normal"), 30) << "nothing is foreseen beyond that";
}

TEST(AdmissionMetricsTest, EstimatesOfPromptsAreJudgedOnce) {
  AdmissionFixture f(/*blocks=*/40);
  Ticket holder = *f.Admit();
  ASSERT_OK(holder.Finalize(*AdmissionFixture::MakeRequest(/*prompt_tokens=*/80, /*max_tokens=*/1), 0));
  Ticket ticket = *f.Admit(/*body_bytes=*/100);  // 30 tokens by estimate
  EXPECT_REASON(ticket.Finalize(*AdmissionFixture::MakeRequest(60, 100), 0), Reason::kGpuMemoryExhausted);
  ASSERT_OK(ticket.Finalize(*AdmissionFixture::MakeRequest(60, 1), 0)) << "tried again with a shorter answer";
  EXPECT_EQ(MetricValue(f.metrics, "hadal_prompt_estimate_ratio_count"), 1);
  EXPECT_DOUBLE_EQ(MetricValue(f.metrics, "hadal_prompt_estimate_ratio_sum"), 2);
}

TEST(AdmissionMetricsTest, PromptsThatTakeTheQueueAboveItsTokensAreCounted) {
  AdmissionFixture f(/*blocks=*/1000, /*max_queue_requests=*/8, /*max_queue_tokens=*/100);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 3; ++i) {
    tickets.push_back(*f.Admit(/*body_bytes=*/100));
    EXPECT_EQ(MetricValue(f.metrics, "hadal_queue_token_overruns_total"), 0);
  }
  for (Ticket& ticket : tickets) ASSERT_OK(ticket.Finalize(*AdmissionFixture::MakeRequest(60, 1), 0));
  EXPECT_EQ(MetricValue(f.metrics, "hadal_queue_token_overruns_total"), 1) << "the one that crossed the limit";
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
