// SPDX-License-Identifier: Apache-2.0
// What is foreseen, who is refused for it, and what refused clients are promised.
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

double RetryAfter(const absl::Status& status) { return absl::ToDoubleSeconds(*GetErrorDetail(status).retry_after); }

TEST(AdmissionForecastTest, PredictsTheWaitOfAnArrival) {
  AdmissionFixture fixture;
  EXPECT_FALSE(fixture.controller->PredictWait(Priority::kNormal, 10).known) << "no step has ended yet";
  fixture.PublishRunning(8);
  const auto wait = [&](Priority priority) {
    const WaitPrediction prediction = fixture.controller->PredictWait(priority, 10);
    EXPECT_TRUE(prediction.known);
    EXPECT_NEAR(absl::ToDoubleSeconds(prediction.first_token - prediction.start), 0.1, 1e-3);
    return absl::ToDoubleSeconds(prediction.start);
  };
  EXPECT_NEAR(wait(Priority::kNormal), 0.5, 1e-3);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(*fixture.Admit(100, Priority::kNormal));
  EXPECT_NEAR(wait(Priority::kNormal), 3, 1e-3);
  EXPECT_NEAR(wait(Priority::kHigh), 0.5, 1e-3);
  tickets.resize(3);
  EXPECT_NEAR(wait(Priority::kNormal), 2, 1e-3) << "who leaves is not ahead any more";
  tickets.clear();
  fixture.PublishRunning(8, 0, /*more_places=*/1);
  EXPECT_EQ(wait(Priority::kLow), 0) << "a place is free";
  fixture.PublishRunning(8, 0, 0, /*fixed_length=*/true);
  EXPECT_NEAR(wait(Priority::kNormal), 1, 1e-3) << "all of the shortest, not half of it";
}

TEST(AdmissionForecastTest, BeforeAnAnswerWasSeenNoneIsLongerThanItsLikeMayBe) {
  AdmissionFixture fixture;
  const Ticket first = *fixture.Admit(100, Priority::kNormal);
  fixture.PublishRunning(1);  // of at most 10 tokens, 5 of them expected
  const WaitPrediction second = fixture.controller->PredictWait(Priority::kNormal, 10);
  EXPECT_NEAR(absl::ToDoubleSeconds(second.start), 0.5 + 1, 0.26)
      << "a quarter of a second is what forecasts tell apart; of a usual answer 26 s";
}

TEST(AdmissionForecastTest, WhoWouldWaitLongerThanItsClassMayIsRefused) {
  AdmissionFixture fixture(1000, 512, 0, 100000, AdmissionFixture::kBlockTokens, SurplusRetry::kOnce,
                           /*wait_limit=*/absl::Milliseconds(2600));
  std::vector<Ticket> unknown;
  for (int i = 0; i < 20; ++i) unknown.push_back(*fixture.Admit(100, Priority::kNormal));
  unknown.clear();  // nobody is refused before a step has ended
  fixture.PublishRunning(8);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(*fixture.Admit(100, Priority::kNormal));
  const absl::Status refused = fixture.Admit(100, Priority::kNormal).status();
  EXPECT_REASON(refused, Reason::kWaitLimit);
  EXPECT_THAT(refused.ToString(), ::testing::HasSubstr("class normal would wait about 3.0s, the limit is 2.6s"));
  EXPECT_GE(RetryAfter(refused), 1);
  EXPECT_OK(fixture.Admit(100, Priority::kHigh)) << "it goes before them";
  const absl::StatusOr<Ticket> low = fixture.Admit(100, Priority::kLow);
  EXPECT_OK(low) << "one of a class may always wait";
  EXPECT_REASON(fixture.Admit(100, Priority::kLow).status(), Reason::kWaitLimit);
  tickets.clear();
  EXPECT_OK(fixture.Admit(100, Priority::kNormal));
}

TEST(AdmissionForecastTest, AFullQueueIsToldBeforeTheWaitBehindIt) {
  AdmissionFixture fixture(1000, /*max_queue_requests=*/6, 0, 100000, AdmissionFixture::kBlockTokens,
                           SurplusRetry::kOnce, /*wait_limit=*/absl::Milliseconds(2600));
  fixture.PublishRunning(8);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(*fixture.Admit(100, Priority::kNormal));
  EXPECT_REASON(fixture.Admit(100, Priority::kNormal).status(), Reason::kWaitLimit) << "there is a slot";
  tickets.push_back(*fixture.Admit(100, Priority::kHigh));
  EXPECT_REASON(fixture.Admit(100, Priority::kNormal).status(), Reason::kConnectionQueueFull);
}

TEST(AdmissionForecastTest, BehindAGatewayEverybodyIsToldTheNextFreeMoment) {
  for (const bool behind_gateway : {false, true}) {
    AdmissionFixture fixture;
    AdmissionController::Options options;
    options.clock = &fixture.clock;
    options.max_queue_requests = 1;
    options.wait_limits.fill(absl::InfiniteDuration());
    options.behind_gateway = behind_gateway;
    fixture.controller = *AdmissionController::Create(std::move(options));
    fixture.controller
        ->AddModel({"test", 100000, AdmissionFixture::kBlockTokens, AdmissionFixture::kBlockBytes, &fixture.pool})
        .value();
    fixture.controller->SetReady();
    fixture.PublishRunning(8);
    const Ticket waiting = *fixture.Admit();
    // A place comes free every half second; then the one that waits starts, and the queue has room.
    for (int i = 0; i < 20; ++i) {
      const absl::Status refused = fixture.Admit().status();
      EXPECT_REASON(refused, Reason::kConnectionQueueFull);
      if (!behind_gateway) {
        // Turns of their own, one behind the other.
        EXPECT_GE(RetryAfter(refused), 0.5 * (i + 1));
        continue;
      }
      EXPECT_FALSE(GetErrorDetail(refused).promised);
      EXPECT_TRUE(GetErrorDetail(refused).should_retry);
      EXPECT_NEAR(absl::ToDoubleSeconds(*GetErrorDetail(refused).estimated_wait), 0.5, 0.05);
      EXPECT_GE(RetryAfter(refused), 0.45);
      EXPECT_LE(RetryAfter(refused), 0.61) << "the twentieth does not queue up behind nineteen others";
    }
  }
}

TEST(AdmissionForecastTest, AQuietTenantDoesNotWaitForTheWholeLineOfAnother) {
  AdmissionFixture fixture(1000, 512, 0, 100000, AdmissionFixture::kBlockTokens, SurplusRetry::kOnce,
                           /*wait_limit=*/absl::Milliseconds(2600));
  fixture.PublishRunning(8);
  std::vector<Ticket> tickets;
  const auto admit = [&](const std::string& tenant) {
    absl::StatusOr<Ticket> ticket = fixture.controller->TryAdmit({Priority::kNormal, tenant, "req", 100});
    if (ticket.ok()) tickets.push_back(*std::move(ticket));
    return ticket.status();
  };
  for (int i = 0; i < 5; ++i) EXPECT_OK(admit("noisy"));
  EXPECT_REASON(admit("noisy"), Reason::kWaitLimit);
  EXPECT_OK(admit("quiet")) << "one of the other goes before it, not five";
  // So will others in future: one overtook four of five in the last second, of two places a second.
  tickets.clear();
  for (int i = 0; i < 2; ++i) EXPECT_OK(admit("noisy"));
  EXPECT_REASON(admit("noisy"), Reason::kWaitLimit);
}

TEST(AdmissionForecastTest, TheOfferedLoadCountsRefusedRequestsAndNoRetries) {
  AdmissionFixture fixture(/*blocks=*/100000, /*max_queue_requests=*/1);
  const auto offered = [&] { return hadal::testing::MetricValue(fixture.metrics, "hadal_offered_load_ratio"); };
  const auto request = AdmissionFixture::MakeRequest(20, 40);
  Ticket ticket = *fixture.Admit(67);
  ASSERT_OK(ticket.Finalize(*request, 0));
  fixture.PublishRunning(8);
  EXPECT_EQ(offered(), 0) << "it is not known how long answers are";
  for (int i = 0; i < 1000; ++i) fixture.controller->RecordOutputLength(0, *request, 40);
  // Steps of 0.1 s with 8 sequences of 40 tokens: two a second. Four arrive, and all are refused.
  for (int i = 0; i < 240; ++i) {
    fixture.clock.Advance(absl::Milliseconds(250));
    EXPECT_REASON(fixture.Admit(67).status(), Reason::kConnectionQueueFull);
  }
  fixture.PublishRunning(8);
  const double twice = offered();
  EXPECT_NEAR(twice, 2, 0.2);
  for (int i = 0; i < 40; ++i) {
    EXPECT_REASON(fixture.controller->TryAdmit({Priority::kNormal, "", "req", 67, {.attempt = 1}}).status(),
                  Reason::kConnectionQueueFull);
  }
  EXPECT_EQ(offered(), twice);
  fixture.clock.Advance(absl::Seconds(20));
  EXPECT_NEAR(offered(), twice / 4, 0.05) << "it falls by half in ten seconds";
}

TEST(AdmissionForecastTest, WhoIsRefusedIsPromisedAPartOfWhatComesFree) {
  AdmissionFixture fixture(/*blocks=*/100000, /*max_queue_requests=*/4);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(*fixture.Admit());
  const absl::Status unknown = fixture.Admit().status();
  EXPECT_FALSE(GetErrorDetail(unknown).promised);
  EXPECT_FALSE(GetErrorDetail(unknown).estimated_wait.has_value());
  EXPECT_GE(RetryAfter(unknown), 2) << "nothing has run yet";
  fixture.PublishRunning(100);
  // Many more arrive afresh than two a second.
  for (int i = 0; i < 100; ++i) {
    fixture.clock.Advance(absl::Milliseconds(10));
    EXPECT_REASON(fixture.controller->CheckRoom({Priority::kNormal, "", "req", 1, {.gateway = true}}),
                  Reason::kConnectionQueueFull);
  }
  fixture.PublishRunning(100);
  AdmissionRequest returning{Priority::kNormal, "", "req", 1, {.key = 5, .quality = KeyQuality::kOwn}};
  const absl::Status refused = fixture.controller->TryAdmit(returning).status();
  EXPECT_TRUE(GetErrorDetail(refused).promised);
  EXPECT_TRUE(GetErrorDetail(refused).should_retry);
  const double promised_s = 1 / (2 * RetryPlanner::kReturnShare);
  EXPECT_NEAR(absl::ToDoubleSeconds(*GetErrorDetail(refused).estimated_wait), promised_s, 0.3);
  EXPECT_GE(RetryAfter(refused), absl::ToDoubleSeconds(*GetErrorDetail(refused).estimated_wait));
  // At the time that it was told, a slot is kept from everybody else.
  fixture.clock.Advance(*GetErrorDetail(refused).retry_after);
  tickets.pop_back();
  AdmissionRequest fresh{Priority::kNormal, "", "req", 1, {.key = 6}};
  EXPECT_REASON(fixture.controller->TryAdmit(fresh), Reason::kConnectionQueueFull);
  auto ticket = fixture.controller->TryAdmit(returning);
  ASSERT_OK(ticket);
  auto request = AdmissionFixture::MakeRequest(4, 1);
  ASSERT_OK(ticket->Finalize(*request, 0));
  EXPECT_EQ(hadal::testing::MetricValue(fixture.metrics,
                                        "hadal_retry_returns_total{timing=\"in_window\",outcome=\"admitted\"}"),
            1);
  tickets.pop_back();
  EXPECT_OK(fixture.controller->TryAdmit(fresh)) << "the promise is kept, nothing is held any more";
}

TEST(AdmissionForecastTest, ATicketIsGoodOnceFromWhateverAddress) {
  AdmissionFixture fixture(/*blocks=*/100000, /*max_queue_requests=*/4);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(*fixture.Admit());
  fixture.PublishRunning(100);
  const auto tickets_counted = [&](const std::string& outcome) {
    return hadal::testing::MetricValue(fixture.metrics, "hadal_retry_tickets_total{outcome=\"" + outcome + "\"}");
  };
  const absl::Status refused = fixture.controller->TryAdmit({Priority::kNormal, "", "req", 1, {.key = 5}}).status();
  ASSERT_TRUE(GetErrorDetail(refused).promised);
  const std::string ticket = GetErrorDetail(refused).ticket;
  ASSERT_FALSE(ticket.empty());
  EXPECT_EQ(tickets_counted("issued"), 1);
  EXPECT_EQ(fixture.controller->OpenTicket("made up"), 0u);
  EXPECT_EQ(tickets_counted("forged"), 1);
  const uint64_t promise = fixture.controller->OpenTicket(ticket);
  ASSERT_NE(promise, 0u);

  // Early it is told the same moment again.
  const AdmissionRequest from_elsewhere{Priority::kNormal, "", "req", 1, {.key = 77, .promise = promise}};
  const absl::Status early = fixture.controller->TryAdmit(from_elsewhere).status();
  EXPECT_TRUE(GetErrorDetail(early).promised);
  EXPECT_EQ(fixture.controller->OpenTicket(GetErrorDetail(early).ticket), promise);

  // Not when clients of its kind come, when a key that is shared would be known, but anywhere in its window.
  fixture.clock.Advance(absl::Ceil(*GetErrorDetail(refused).retry_after, absl::Seconds(1)) + absl::Milliseconds(400));
  tickets.pop_back();
  EXPECT_OK(fixture.controller->TryAdmit(from_elsewhere));
  EXPECT_EQ(fixture.controller->OpenTicket(ticket), 0u);
  EXPECT_EQ(tickets_counted("used"), 1);
  EXPECT_EQ(tickets_counted("accepted"), 2);
  fixture.clock.Advance(absl::Seconds(60));
  EXPECT_EQ(fixture.controller->OpenTicket(ticket), 0u);
  EXPECT_EQ(tickets_counted("expired"), 1);
}

TEST(AdmissionForecastTest, ATicketIsGoodForItsKeyAlone) {
  AdmissionFixture fixture(/*blocks=*/100000, /*max_queue_requests=*/4);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(*fixture.Admit());
  fixture.PublishRunning(100);
  constexpr uint64_t kAcme = 11, kOther = 12;
  const auto ask = [&](uint64_t key, uint64_t owner, uint64_t promise) {
    return fixture.controller
        ->TryAdmit({Priority::kNormal, "", "req", 1, {.key = key, .promise = promise, .owner = owner}})
        .status();
  };
  const absl::Status refused = ask(5, kAcme, 0);
  const std::string ticket = GetErrorDetail(refused).ticket;
  ASSERT_FALSE(ticket.empty());
  for (const uint64_t owner : {kOther, uint64_t{0}}) EXPECT_EQ(fixture.controller->OpenTicket(ticket, owner), 0u);
  EXPECT_EQ(hadal::testing::MetricValue(fixture.metrics, "hadal_retry_tickets_total{outcome=\"forged\"}"), 2);
  const uint64_t promise = fixture.controller->OpenTicket(ticket, kAcme);
  ASSERT_NE(promise, 0u);

  // A place is free in the window, and it is kept for the one that it was promised to.
  fixture.clock.Advance(absl::Ceil(*GetErrorDetail(refused).retry_after, absl::Seconds(1)) + absl::Milliseconds(400));
  tickets.pop_back();
  const absl::Status thief = ask(77, kOther, promise);
  EXPECT_EQ(fixture.controller->OpenTicket(ticket, kAcme), promise) << "nobody else used it up: " << thief;
  EXPECT_OK(ask(78, kAcme, promise));
}

TEST(AdmissionForecastTest, APromiseThatIsNotNeededIsGivenBack) {
  AdmissionFixture fixture(/*blocks=*/100000, /*max_queue_requests=*/1);
  const absl::StatusOr<Ticket> waiting = fixture.Admit();
  fixture.PublishRunning(100);
  const auto ask = [&](uint64_t key) {
    return fixture.controller->TryAdmit({Priority::kNormal, "", "req", 1, {.key = key}}).status();
  };
  const absl::Status first = ask(1);
  ASSERT_TRUE(GetErrorDetail(first).promised);
  const std::string ticket = GetErrorDetail(first).ticket;
  const absl::Duration behind = *GetErrorDetail(ask(2)).estimated_wait;
  ASSERT_GT(behind, *GetErrorDetail(first).estimated_wait) << "the first one's place goes before";
  fixture.controller->Withdraw(first);
  fixture.controller->Withdraw(first);  // there is nothing more to give back
  fixture.controller->Withdraw(absl::InternalError("no refusal"));
  EXPECT_EQ(fixture.controller->OpenTicket(ticket), 0u);
  EXPECT_LE(*GetErrorDetail(ask(3)).estimated_wait, behind) << "there is one promise before it again, not two";
  EXPECT_EQ(hadal::testing::MetricValue(fixture.metrics, "hadal_retry_tickets_total{outcome=\"withdrawn\"}"), 1);
}

TEST(AdmissionForecastTest, MemoryIsPromisedTooAndKept) {
  AdmissionFixture fixture(/*blocks=*/100);
  std::vector<Ticket> held;
  const auto lease = [&](RetryCaller retry) {
    auto ticket = fixture.controller->TryAdmit({Priority::kNormal, "", "req", 1, retry});
    if (!ticket.ok()) return ticket.status();
    const absl::Status status = ticket->Finalize(*AdmissionFixture::MakeRequest(36, 1), 0);  // 9 blocks
    if (status.ok()) held.push_back(*std::move(ticket));
    return status;
  };
  for (int i = 0; i < 11; ++i) ASSERT_OK(lease({}));
  fixture.PublishRunning(50, /*blocks=*/9);
  const RetryCaller returning{.key = 5, .quality = KeyQuality::kOwn};
  const absl::Status refused = lease(returning);
  EXPECT_REASON(refused, Reason::kGpuMemoryExhausted);
  ASSERT_TRUE(GetErrorDetail(refused).promised);
  EXPECT_GE(RetryAfter(refused), 1);
  fixture.clock.Advance(*GetErrorDetail(refused).retry_after);
  held.pop_back();
  EXPECT_REASON(lease({.key = 6}), Reason::kGpuMemoryExhausted);
  EXPECT_OK(lease(returning));
}

// At the door only the prompt is compared with what is free. What is promised has room for the answer, too.
TEST(AdmissionForecastTest, MemoryIsPromisedForTheAnswerOfALongPrompt) {
  AdmissionFixture fixture(/*blocks=*/200);
  std::vector<Ticket> held;
  const auto lease = [&](int32_t prompt_blocks, int64_t body_bytes, RetryCaller retry, int32_t max_tokens = 33) {
    auto ticket = fixture.controller->TryAdmit({Priority::kNormal, "", "req", body_bytes, retry});
    if (!ticket.ok()) return ticket.status();
    const int32_t prompt_tokens = prompt_blocks * AdmissionFixture::kBlockTokens;
    const absl::Status status = ticket->Finalize(*AdmissionFixture::MakeRequest(prompt_tokens, max_tokens), 0);
    if (status.ok()) held.push_back(*std::move(ticket));
    return status;
  };
  ASSERT_OK(lease(2, 0, {}));
  const int64_t of_each = fixture.pool.leased_bytes() / AdmissionFixture::kBlockBytes;
  const int64_t of_answer = of_each - 2;
  ASSERT_GE(of_answer, 4);
  while (fixture.pool.available_bytes() >= 40 * AdmissionFixture::kBlockBytes) ASSERT_OK(lease(2, 0, {}));
  fixture.PublishRunning(50, /*blocks=*/9);
  const RetryCaller returning{.key = 5, .quality = KeyQuality::kOwn};
  const absl::Status refused = lease(40, 540, returning);
  EXPECT_REASON(refused, Reason::kGpuMemoryExhausted);
  ASSERT_TRUE(GetErrorDetail(refused).promised);
  fixture.clock.Advance(*GetErrorDetail(refused).retry_after);
  while (fixture.pool.available_bytes() < (40 + of_answer + 2) * AdmissionFixture::kBlockBytes) held.pop_back();
  while (lease(1, 0, {}, /*max_tokens=*/1).ok()) {  // as many others as there is room for
  }
  EXPECT_OK(lease(40, 540, returning));
}

}  // namespace
}  // namespace hadal::admission
