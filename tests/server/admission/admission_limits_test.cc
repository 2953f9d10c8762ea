// SPDX-License-Identifier: Apache-2.0
// Limits that callers give: at the door, in the queue, and when a request leaves it.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/admission_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::admission {
namespace {

using hadal::testing::AdmissionFixture;
using request::GetErrorDetail;
using request::Priority;
using request::Reason;
using ::testing::HasSubstr;

// A full batch: two places a second come free, a step and so a first token takes 0.1 s. Three requests wait.
class AdmissionLimitsTest : public ::testing::Test {
 protected:
  AdmissionLimitsTest() {
    f.PublishRunning(8);
    for (int i = 0; i < 3; ++i) waiting.push_back(*f.Admit(100));
  }

  AdmissionRequest Within(absl::Duration deadline, absl::Duration first_token = absl::InfiniteDuration()) {
    AdmissionRequest request{Priority::kNormal, "", "req", 100};
    request.limits = {
        .arrival = f.clock.Now(), .deadline = f.clock.Now() + deadline, .first_token_by = f.clock.Now() + first_token};
    return request;
  }

  AdmissionFixture f;
  std::vector<Ticket> waiting;
};

TEST_F(AdmissionLimitsTest, ADeadlineThatCannotBeMetIsRefusedAtOnceWithTheEstimate) {
  EXPECT_OK(f.controller->TryAdmit(Within(absl::Milliseconds(2150)))) << "the fourth starts in 2 s";
  const AdmissionRequest late = Within(absl::Milliseconds(2050));
  const absl::Status refused = f.controller->TryAdmit(late).status();
  EXPECT_REASON(refused, Reason::kDeadlineInfeasible);
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("the first token is expected in 2.10 s, the deadline is in 2.05 s"));
  EXPECT_NEAR(absl::ToDoubleSeconds(*GetErrorDetail(refused).estimated_wait), 2.1, 1e-3);
  EXPECT_THAT(f.lines.back(), HasSubstr("admission DEADLINE_INFEASIBLE: the first token is expected in 2.10 s"));
  EXPECT_REASON(f.controller->CheckRoom(late), Reason::kDeadlineInfeasible);
  EXPECT_EQ(hadal::testing::MetricValue(
                f.metrics,
                R"(hadal_admission_rejections_total{class="normal",length_class="256",reason="DEADLINE_INFEASIBLE"})"),
            2);
  EXPECT_EQ(f.controller->GetLoad().waiting, 3) << "nothing was taken";
}

TEST_F(AdmissionLimitsTest, ARetryIsAskedForOnlyWhereItCanHelp) {
  // A deadline is of the call with all its attempts: none can come back before it.
  const absl::Status whole = f.controller->TryAdmit(Within(absl::Milliseconds(800))).status();
  EXPECT_REASON(whole, Reason::kDeadlineInfeasible);
  EXPECT_FALSE(GetErrorDetail(whole).should_retry);
  // A limit on the first token is of one attempt: the next has one of its own.
  const absl::Status first = f.controller->TryAdmit(Within(absl::InfiniteDuration(), absl::Milliseconds(800))).status();
  EXPECT_REASON(first, Reason::kDeadlineInfeasible);
  EXPECT_TRUE(GetErrorDetail(first).should_retry);
  EXPECT_GE(*GetErrorDetail(first).retry_after, absl::Milliseconds(1300)) << "that much it was too late";
  EXPECT_FALSE(GetErrorDetail(first).promised);
}

TEST_F(AdmissionLimitsTest, ADeadlineThatAnIdleServerCannotMeetIsTheCallersMistake) {
  AdmissionRequest request = Within(absl::Milliseconds(40));
  const absl::Status mistake = f.controller->TryAdmit(request).status();
  EXPECT_REASON(mistake, Reason::kRequestNeverFits);
  EXPECT_EQ(mistake.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(GetErrorDetail(mistake).retry_after.has_value());
  EXPECT_THAT(std::string(mistake.message()),
              HasSubstr("the deadline leaves 0.040 s; an idle server needs at least 0.100 s to the first token"));
  request.retry.attempt = 1;
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kDeadlineInfeasible) << "earlier attempts took the time";
}

TEST_F(AdmissionLimitsTest, WhoDoesNotWaitStartsNowOrIsRefused) {
  AdmissionRequest request{Priority::kHigh, "", "req", 100};
  request.limits.may_wait = false;
  const absl::Status refused = f.controller->TryAdmit(request).status();
  EXPECT_REASON(refused, Reason::kWaitLimit);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("would wait about 0.50 s, and x-hadal-queue is no"));
  EXPECT_TRUE(GetErrorDetail(refused).retry_after.has_value());
  waiting.clear();
  f.PublishRunning(8, 0, /*more_places=*/1);
  auto ticket = f.controller->TryAdmit(request);
  ASSERT_OK(ticket) << "a place is free";
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kWaitLimit) << "it is taken";

  // It was free when it was asked for: who does not start then is refused, not kept.
  auto queued = AdmissionFixture::MakeRequest(4, 4, Priority::kHigh);
  queued->may_wait = false;
  ASSERT_OK(ticket->Finalize(*queued, 0));
  ASSERT_OK(f.controller->Enqueue(0, std::move(queued), *std::move(ticket)));
  EXPECT_TRUE(f.controller->RemoveExpired(0, f.clock.Now(), false).empty());
  f.clock.Advance(absl::Seconds(1));
  const auto removed = f.controller->RemoveExpired(0, f.clock.Now(), false);
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_REASON(removed[0].refusal, Reason::kWaitLimit);
}

TEST_F(AdmissionLimitsTest, AnEngineThatHasComeToRestTakesWhoDoesNotWaitWhateverTheForecastSays) {
  waiting.clear();
  AdmissionRequest request{Priority::kNormal, "", "req", 100};
  request.limits.may_wait = false;
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kWaitLimit);
  EXPECT_REASON(f.controller->TryAdmit(Within(absl::Milliseconds(300))), Reason::kDeadlineInfeasible);
  // All eight end; the forecast is renewed within a tenth of a second.
  f.controller->engine_load(0).BeginSequences();
  f.controller->engine_load(0).EndSequences();
  EXPECT_OK(f.controller->TryAdmit(Within(absl::Milliseconds(300))));
  EXPECT_OK(f.controller->TryAdmit(request));
  const auto taken = f.controller->TryAdmit(request);
  ASSERT_OK(taken);
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kWaitLimit) << "now one is there";
}

TEST_F(AdmissionLimitsTest, TheLimitOnTheFirstTokenHoldsInTheQueue) {
  auto request = AdmissionFixture::MakeRequest(4, 4);
  request->first_token_by = f.clock.Now() + absl::Seconds(2);
  ASSERT_OK(f.Submit(request));
  EXPECT_EQ(f.controller->NextDeadline(0), f.clock.Now() + absl::Seconds(2));
  EXPECT_TRUE(f.controller->RemoveExpired(0, f.clock.Now(), true).empty());
  const auto removed = f.controller->RemoveExpired(0, f.clock.Now() + absl::Seconds(2), false);
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_OK(removed[0].refusal) << "it has expired";
}

TEST(AdmissionUnknownLimitsTest, NobodyIsRefusedBeforeAnythingHasRun) {
  AdmissionFixture f;
  AdmissionRequest request{Priority::kNormal, "", "req", 100};
  request.limits.deadline = f.clock.Now() + absl::Milliseconds(1);
  auto first = f.controller->TryAdmit(request);
  EXPECT_OK(first);
  request.limits.may_wait = false;
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kWaitLimit) << "somebody waits";
  first->Release();
  EXPECT_OK(f.controller->TryAdmit(request));
}

TEST(AdmissionIdleLimitsTest, AWrongForecastDoesNotKeepEverybodyOutForEver) {
  AdmissionFixture f;
  f.controller->engine_load(0).SetStep({8, 64, {.step_s = 10}});  // the device was slow, and is no more
  f.controller->UpdateForecast(f.clock.Now());
  const auto ask = [&] {
    AdmissionRequest request{Priority::kNormal, "", "req", 10};
    request.limits = {.arrival = f.clock.Now(), .first_token_by = f.clock.Now() + absl::Seconds(1)};
    return f.controller->TryAdmit(request);
  };
  EXPECT_REASON(ask(), Reason::kRequestNeverFits);
  f.clock.Advance(absl::Seconds(5));
  auto probe = ask();
  ASSERT_OK(probe);
  EXPECT_FALSE(ask().ok()) << "one at a time";
  auto request = AdmissionFixture::MakeRequest(4, 4);
  request->first_token_by = f.clock.Now() + absl::Seconds(1);
  EXPECT_FALSE(f.controller->CannotBeInTime(0, *request, 4)) << "it is not refused when its turn comes";
  probe->ReleaseSlot();  // it starts
  EXPECT_TRUE(f.controller->CannotBeInTime(0, *request, 4));
  EXPECT_FALSE(ask().ok()) << "until it has run nothing is known anew";
}

// With steps of 1 ms for each prompt token, 1000 tokens take a second; but only one in ten is computed.
TEST(AdmissionPrefixLimitsTest, PromptsThatThePrefixCacheHasAreExpectedSooner) {
  AdmissionFixture f;
  f.controller->engine_load(0).SetStep({8, 100000, {.step_s = 0.01, .prefill_token_s = 0.001}});
  f.controller->UpdateForecast(f.clock.Now());
  AdmissionRequest request{Priority::kNormal, "", "req", 3333};
  request.limits = {.arrival = f.clock.Now(), .deadline = f.clock.Now() + absl::Milliseconds(200)};
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kRequestNeverFits);
  for (int i = 0; i < 100; ++i) {
    auto ticket = f.Admit();
    ASSERT_OK(ticket);
    auto served = AdmissionFixture::MakeRequest(100, 4);
    ASSERT_OK(ticket->Finalize(*served, 0));
    ticket->RecordServed(Priority::kNormal, /*prompt_tokens=*/10, /*output_tokens=*/4);
  }
  f.controller->UpdateForecast(f.clock.Now());
  EXPECT_OK(f.controller->TryAdmit(request));
  request.limits.deadline = f.clock.Now() + absl::Milliseconds(60);
  EXPECT_REASON(f.controller->TryAdmit(request), Reason::kDeadlineInfeasible) << "with luck it could be met";
}

}  // namespace
}  // namespace hadal::admission
