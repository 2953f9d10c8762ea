// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

using testing::ElementsAre;
using testing::Pair;

RequestRecord Request(double at_s, int prompt_tokens = 100) {
  RequestRecord record;
  record.scheduled_s = at_s;
  record.planned_prompt_tokens = prompt_tokens;
  record.planned_output_tokens = 11;
  return record;
}

void Refuse(RequestRecord* record, double start_s, double end_s, double hint_s, const char* promise = "") {
  record->attempts.push_back({.due_s = start_s,
                              .start_s = start_s,
                              .end_s = end_s,
                              .end = CallEnd::kRefused,
                              .status = 503,
                              .reason = "CONNECTION_QUEUE_FULL",
                              .hint_s = hint_s,
                              .promise = promise});
  record->outcome = Outcome::kRefused;
}

void Serve(RequestRecord* record, double start_s, double ttft_s, double e2e_s) {
  record->attempts.push_back(
      {.due_s = start_s, .start_s = start_s, .end_s = start_s + e2e_s, .end = CallEnd::kServed, .status = 200});
  record->outcome = Outcome::kServed;
  record->first_content_s = start_s + ttft_s;
  record->last_content_s = record->end_s = start_s + e2e_s;
  record->pieces = 11;
  record->prompt_tokens = record->planned_prompt_tokens;
  record->completion_tokens = 11;
  record->finish_reason = "length";
}

RunLog Log() {
  RunLog log;
  log.warmup_s = 10;
  log.duration_s = 20;
  log.ended_s = 25;
  return log;
}

ReportOptions Options() { return {.slos = {*ParseSlo("ttft=1000,tpot=100"), *ParseSlo("ttft=100")}}; }

TEST(ReportTest, CountsWhatWasMeasured) {
  RunLog log = Log();
  RequestRecord warm = Request(9.9), good = Request(10), slow = Request(11, 3000), failed = Request(12);
  Serve(&warm, 9.9, 0.1, 0.5);
  Serve(&good, 10, 0.2, 0.7);
  Serve(&slow, 11, 1.5, 2.5);
  failed.attempts.push_back(
      {.due_s = 12, .start_s = 12, .end_s = 12.001, .end = CallEnd::kFailed, .status = 200, .reason = "empty_answer"});
  failed.outcome = Outcome::kFailed;
  log.records = {warm, good, slow, failed, Request(13)};  // the last was never sent
  const Report report = BuildReport(log, Options());

  EXPECT_DOUBLE_EQ(report.measured_s, 10);
  EXPECT_EQ(report.warmup_requests, 1);
  EXPECT_EQ(report.all.offered, 3);
  EXPECT_EQ(report.all.served, 2);
  EXPECT_EQ(report.all.failed, 1);
  EXPECT_EQ(report.all.met, 1);
  ASSERT_EQ(report.goodput.size(), 2u);
  EXPECT_EQ(report.goodput[0].met, 1);
  EXPECT_EQ(report.goodput[1].met, 0);
  EXPECT_EQ(report.prompt_tokens, 3100);
  EXPECT_EQ(report.output_tokens, 22);
  EXPECT_THAT(report.failures, ElementsAre(Pair("empty_answer", 1)));
  // A fast empty answer is in no latency.
  EXPECT_EQ(report.ttft.count(), 2);
  EXPECT_NEAR(report.ttft.QuantileSeconds(0.5), 0.2, 0.001);
  EXPECT_NEAR(report.tpot.QuantileSeconds(0.5), 0.05, 0.001);
  EXPECT_NEAR(report.e2e.QuantileSeconds(1), 2.5, 0.001);
  EXPECT_EQ(report.by_length[0].offered, 2);
  EXPECT_EQ(report.by_length[2].offered, 1);
  EXPECT_DOUBLE_EQ(report.by_length[2].AdmissionRatio(), 1);
  EXPECT_DOUBLE_EQ(report.by_length[2].SloRatio(), 0);
}

TEST(ReportTest, RatesGoByTheClock) {
  RunLog log = Log();
  RequestRecord warm = Request(9.9), good = Request(10), slow = Request(11, 3000), late = Request(19.9);
  Serve(&warm, 9.9, 0.05, 0.5);  // ends in the measured part
  Serve(&good, 10, 0.2, 0.7);
  Serve(&slow, 11, 1.5, 2.5);
  Serve(&late, 19.9, 0.2, 0.7);  // ends in the drain: a rate of the measured part does not have it
  log.records = {warm, good, slow, late};
  const Report report = BuildReport(log, Options());
  EXPECT_EQ(report.completed, 3);
  EXPECT_EQ(report.completed_output_tokens, 33);
  EXPECT_EQ(report.goodput[0].requests, 2);
  EXPECT_EQ(report.goodput[0].tokens, 222);
  EXPECT_EQ(report.goodput[0].met, 2);  // by the schedule: good and late
  EXPECT_EQ(report.goodput[1].requests, 1);
  EXPECT_EQ(report.all.offered, 3);
}

TEST(ReportTest, LatencyCountsFromTheScheduleAcrossAttempts) {
  RunLog log = Log();
  RequestRecord returned = Request(12);
  Refuse(&returned, 12, 12.01, 2);
  Serve(&returned, 14.01, 0.1, 0.6);
  log.records = {returned};
  const Report report = BuildReport(log, Options());
  EXPECT_NEAR(report.ttft.QuantileSeconds(0.5), 2.11, 0.01);
  EXPECT_NEAR(report.attempt_ttft.QuantileSeconds(0.5), 0.1, 0.001);
  EXPECT_EQ(report.all.attempts, 2);
  EXPECT_EQ(report.all.met, 0);
  ReportOptions from_attempt = Options();
  from_attempt.slo_from_attempt = true;
  EXPECT_EQ(BuildReport(log, from_attempt).all.met, 1);
}

TEST(ReportTest, JudgesHintsByWhatTheReturnFound) {
  RunLog log = Log();
  RequestRecord kept = Request(10), broken = Request(11), early = Request(12), gone = Request(13);
  Refuse(&kept, 10, 10, 2, "held");
  Serve(&kept, 12, 0.1, 0.5);
  Refuse(&broken, 11, 11, 1, "held");
  Refuse(&broken, 12, 12, 3, "none");
  Serve(&broken, 15, 0.1, 0.5);
  Refuse(&early, 12, 12, 5);
  Refuse(&early, 12.5, 12.5, 5);
  Refuse(&gone, 13, 13, 9);
  log.records = {kept, broken, early, gone};
  const RetryReport retry = BuildReport(log, Options()).retry;
  EXPECT_EQ(retry.hints, 6);
  EXPECT_EQ(retry.early, 1);
  EXPECT_EQ(retry.returns, 2);
  EXPECT_EQ(retry.returns_admitted, 1);
  EXPECT_EQ(retry.held, 2);
  EXPECT_EQ(retry.held_admitted, 1);
  EXPECT_THAT(retry.errors, ElementsAre(testing::DoubleEq(0), testing::DoubleEq(0.75)));  // |2-2|/2, |1-4|/4
  EXPECT_DOUBLE_EQ(retry.MedianError(), 0.75);
}

TEST(ReportTest, ReturnsAfterTheLoadProveNothing) {
  RunLog log = Log();
  RequestRecord direct = Request(11), during = Request(12), after = Request(19);
  Serve(&direct, 11, 0.1, 0.5);
  Refuse(&during, 12, 12, 2, "held");
  Serve(&during, 14, 0.1, 0.5);
  during.attempts.back().ticket = true;
  Refuse(&after, 19, 19, 2, "held");
  Serve(&after, 21, 0.1, 0.5);
  after.attempts.back().ticket = true;
  log.records = {direct, during, after};
  const Report report = BuildReport(log, Options());
  EXPECT_EQ(report.retry.held, 1);
  EXPECT_EQ(report.retry.after_load, 1);
  EXPECT_EQ(report.retry.tickets, 2);
  EXPECT_EQ(report.all.served, 3);
  EXPECT_EQ(report.all.served_in_load, 2);
  EXPECT_EQ(report.all.attempts_of_served_in_load, 3);
}

TEST(ReportTest, SplitsByClassAndTenant) {
  RunLog log = Log();
  RequestRecord high = Request(10), low = Request(11);
  Serve(&high, 10, 0.1, 0.2);
  Refuse(&low, 11, 11, -1);
  low.traffic_class = 1;
  low.tenant = 1;
  log.records = {high, low};
  ReportOptions options = Options();
  options.classes = *ParseClasses("high,low");
  options.tenants = {{"quiet", "k1", 1}, {"noisy", "k2", 1}};
  const Report report = BuildReport(log, options);
  EXPECT_DOUBLE_EQ(report.by_class[0].AdmissionRatio(), 1);
  EXPECT_DOUBLE_EQ(report.by_class[1].AdmissionRatio(), 0);
  EXPECT_EQ(report.by_tenant[1].refused, 1);
  EXPECT_THAT(report.refusals, ElementsAre(Pair("CONNECTION_QUEUE_FULL", 1)));
}

TEST(ReportTest, WindowsFollowTheClock) {
  RunLog log = Log();
  RequestRecord request = Request(10.5);
  Refuse(&request, 10.5, 10.6, 2);
  Serve(&request, 12.7, 0.1, 0.6);
  log.records = {request};
  ReportOptions options = Options();
  options.slo_from_attempt = true;
  const Report report = BuildReport(log, options);
  ASSERT_EQ(report.windows.size(), 25u);
  EXPECT_EQ(report.windows[10].arrivals, 1);
  EXPECT_EQ(report.windows[10].offered_tokens, 111);
  EXPECT_EQ(report.windows[10].refused_attempts, 1);
  EXPECT_EQ(report.windows[12].attempts, 1);
  EXPECT_EQ(report.windows[13].served, 1);
  EXPECT_EQ(report.windows[13].good_tokens, 111);
}

TEST(ReportTest, AnInterruptedRunIsMeasuredUntilThen) {
  RunLog log = Log();
  log.interrupted = true;
  log.interrupted_s = 15;
  RequestRecord before = Request(12), open = Request(14.9);
  Serve(&before, 12, 0.1, 0.5);
  open.attempts.push_back(
      {.due_s = 14.9, .start_s = 14.9, .end_s = 15, .end = CallEnd::kFailed, .reason = "interrupted"});
  log.records = {before, open, Request(18)};
  const Report report = BuildReport(log, Options());
  EXPECT_DOUBLE_EQ(report.measured_s, 5);
  EXPECT_EQ(report.all.offered, 2);
  EXPECT_EQ(report.all.unfinished, 1);
  EXPECT_THAT(report.failures, testing::IsEmpty());
}

TEST(ReportTest, WithoutUsageTokensAreEstimates) {
  RunLog log = Log();
  RequestRecord request = Request(10);
  Serve(&request, 10, 0.1, 0.6);
  request.prompt_tokens = request.completion_tokens = -1;
  log.records = {request};
  const Report report = BuildReport(log, Options());
  EXPECT_EQ(report.without_usage, 1);
  EXPECT_EQ(report.prompt_tokens, 100);
  EXPECT_EQ(report.output_tokens, 11);
}

}  // namespace
}  // namespace hadal::bench
