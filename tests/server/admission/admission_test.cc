// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission.h"

#include <algorithm>
#include <atomic>
#include <thread>

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

absl::StatusOr<Ticket> Admit(AdmissionFixture& fixture, int64_t body_bytes = 0, Priority priority = Priority::kNormal) {
  return fixture.controller->TryAdmit({priority, "", "req", body_bytes});
}
bool Always(const request::Request&) { return true; }
std::optional<QueuedRequest> Pop(AdmissionFixture& fixture,
                                 const std::function<bool(const request::Request&)>& may_start = Always) {
  const auto turn = fixture.controller->NextTurn(0);
  return turn.has_value() ? fixture.controller->Pop(0, turn->priority, may_start) : std::nullopt;
}

TEST(AdmissionTest, OptionsAreChecked) {
  AdmissionController::Options options;
  options.max_queue_requests = 0;
  EXPECT_EQ(AdmissionController::Create(options).status().message(),
            "admission: max_queue_requests is 0, must be at least 1");
  options.max_queue_requests = 1;
  options.max_queue_tokens = -1;
  EXPECT_FALSE(AdmissionController::Create(options).ok());
  options.max_queue_tokens = 0;
  options.class_floors = {0.5, 0.5, 0.1, 0};
  EXPECT_EQ(AdmissionController::Create(options).status().message(),
            "admission: class_floors is high=0.5,normal=0.5,low=0.1, must be shares that add up to at most 1");
}

TEST(AdmissionTest, RefusesWhenThePlacesAreTaken) {
  AdmissionFixture fixture(1000, 2);
  auto first = Admit(fixture);
  auto second = Admit(fixture);
  ASSERT_OK(first);
  ASSERT_OK(second);
  auto third = Admit(fixture);
  EXPECT_REASON(third, Reason::kConnectionQueueFull);
  EXPECT_THAT(std::string(third.status().message()), ::testing::HasSubstr("服务器繁忙请稍后重试"));
  EXPECT_THAT(std::string(third.status().message()), ::testing::HasSubstr("queue full, 2/2 waiting"));
  const absl::Duration hint = *GetErrorDetail(third.status()).retry_after;
  EXPECT_GE(hint, absl::Seconds(1));
  EXPECT_LE(hint, absl::Seconds(30));
  EXPECT_EQ(fixture.lines, std::vector<std::string>{"admission CONNECTION_QUEUE_FULL: 2/2 pending connections"});
  EXPECT_GT(fixture.fields.retry_after_ms, 0);
  first->Release();
  EXPECT_OK(Admit(fixture));
}

TEST(AdmissionTest, AskingForRoomTakesNothing) {
  AdmissionFixture fixture(1000, 1);
  for (int i = 0; i < 3; ++i) EXPECT_OK(fixture.controller->CheckRoom({Priority::kNormal, "", "req", 100}));
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
  auto ticket = Admit(fixture);
  ASSERT_OK(ticket);
  EXPECT_REASON(fixture.controller->CheckRoom({Priority::kNormal, "", "req", 100}), Reason::kConnectionQueueFull);
  ticket->Release();
  EXPECT_OK(fixture.controller->CheckRoom({Priority::kNormal, "", "req", 100}));
}

TEST(AdmissionTest, BoundIsExactUnderABurstFromManyThreads) {
  AdmissionFixture fixture(100000, 166);
  std::atomic<int> refused{0};
  std::vector<Ticket> tickets(300);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        auto ticket = Admit(fixture);
        if (ticket.ok()) {
          tickets[t * 50 + i] = *std::move(ticket);
        } else {
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 134);
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 166);
  tickets.clear();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
}

TEST(AdmissionTest, WaitingNeverExceedsTheBoundWhileTicketsComeAndGo) {
  AdmissionFixture fixture(100000, 5);
  std::atomic<int> held{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) {
        auto first = Admit(fixture);
        auto second = Admit(fixture);
        const int mine = first.ok() + second.ok();
        ASSERT_LE(held.fetch_add(mine) + mine, 5);
        held.fetch_sub(mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
}

TEST(AdmissionTest, StateComesBeforeEverything) {
  AdmissionFixture fixture;
  AdmissionController::Options options;
  options.clock = &fixture.clock;
  auto controller = *AdmissionController::Create(options);
  controller->SetLoading(absl::Seconds(12));
  auto loading = controller->TryAdmit({});
  EXPECT_REASON(loading, Reason::kModelLoading);
  EXPECT_GE(*GetErrorDetail(loading.status()).retry_after, absl::Seconds(12));
  EXPECT_LE(*GetErrorDetail(loading.status()).retry_after, absl::Seconds(13.2));
  controller->BeginDrain();
  controller->SetReady();
  auto draining = controller->TryAdmit({});
  EXPECT_REASON(draining, Reason::kDraining);
  EXPECT_LE(*GetErrorDetail(draining.status()).retry_after, absl::Seconds(2));
  controller->SetDeviceFault("lost");
  EXPECT_REASON(controller->TryAdmit({}), Reason::kDeviceFault);
  EXPECT_EQ(controller->GetLoad().waiting, 0);
}

TEST(AdmissionTest, QueuedTokensAreEstimatedThenCorrected) {
  AdmissionFixture fixture(100000, 512, /*max_queue_tokens=*/1000);
  auto first = Admit(fixture, 2000);  // 0.3 tokens a byte
  ASSERT_OK(first);
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 600);
  auto second = Admit(fixture, 2000);
  EXPECT_REASON(second, Reason::kQueueTokensFull);
  EXPECT_THAT(fixture.lines, ::testing::ElementsAre("admission QUEUE_TOKENS_FULL: 600/1000 pending tokens"));
  auto request = AdmissionFixture::MakeRequest(200, 10);
  ASSERT_OK(first->Finalize(*request, 0));
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 200);
  auto third = Admit(fixture, 2000);  // the ratio seen, 0.1, has lowered the estimate
  ASSERT_OK(third);
  EXPECT_LT(fixture.controller->GetLoad().waiting_tokens, 800);
}

TEST(AdmissionTest, APromptAboveTheTokenLimitEntersAnEmptyQueue) {
  AdmissionFixture fixture(1'000'000, 512, /*max_queue_tokens=*/100);
  auto ticket = Admit(fixture, 10000);
  ASSERT_OK(ticket);
  EXPECT_REASON(Admit(fixture, 1), Reason::kQueueTokensFull);
}

TEST(AdmissionTest, FinalizeRefusesWhatCanNeverRun) {
  AdmissionFixture fixture(/*blocks=*/10, 512, 0, /*max_model_len=*/50);
  auto ticket = Admit(fixture);
  const absl::Status too_long = ticket->Finalize(*AdmissionFixture::MakeRequest(41, 10), 0);
  EXPECT_REASON(too_long, Reason::kContextLengthExceeded);
  EXPECT_EQ(too_long.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(GetErrorDetail(too_long).retry_after.has_value());
  ticket = Admit(fixture);
  EXPECT_REASON(ticket->Finalize(*AdmissionFixture::MakeRequest(32, 10), 0), Reason::kRequestNeverFits);
  ticket = Admit(fixture);
  EXPECT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(31, 10), 0));  // 40 tokens in the cache: all 10 blocks
}

TEST(AdmissionTest, LeaseIsThePromptAndThePredictedOutput) {
  AdmissionFixture fixture;
  auto ticket = Admit(fixture);
  ASSERT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(8, 16), 0));
  // Cold: half of max_tokens, 8; 15 tokens need a slot: 4 blocks.
  EXPECT_EQ(ticket->leased_bytes(), 4000);
  EXPECT_EQ(fixture.pool.leased_bytes(), 4000);
  for (int i = 0; i < 100; ++i) fixture.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 16), 2);
  auto learned = Admit(fixture);
  ASSERT_OK(learned->Finalize(*AdmissionFixture::MakeRequest(8, 16), 0));
  EXPECT_EQ(learned->leased_bytes(), 3000);
  auto thinking = AdmissionFixture::MakeRequest(8, 16);
  thinking->thinking = true;
  auto unknown = Admit(fixture);
  ASSERT_OK(unknown->Finalize(*thinking, 0));
  EXPECT_EQ(unknown->leased_bytes(), 4000) << "of answers that begin with reasoning nothing is known yet";
  unknown->Release();
  ticket->Release();
  learned->Release();
  EXPECT_EQ(fixture.pool.leased_bytes(), 0);
  EXPECT_EQ(fixture.pool.active_leases(), 0);
}

TEST(AdmissionTest, ChoicesShareThePromptsFullBlocks) {
  AdmissionFixture fixture;
  auto ticket = Admit(fixture);
  auto request = AdmissionFixture::MakeRequest(9, 8);  // predicted 4: 12 slots, 3 blocks, 2 of them shared
  request->n = 3;
  ASSERT_OK(ticket->Finalize(*request, 0));
  EXPECT_EQ(ticket->leased_bytes(), (3 + 2 * 1) * 1000);
}

TEST(AdmissionTest, RefusesWhenMemoryWouldOverflow) {
  AdmissionFixture fixture(/*blocks=*/10);
  auto first = Admit(fixture);
  ASSERT_OK(first->Finalize(*AdmissionFixture::MakeRequest(24, 1), 0));
  auto second = Admit(fixture);
  auto request = AdmissionFixture::MakeRequest(20, 1);
  request->id = "0x7f8a1c2b";
  const absl::Status status = second->Finalize(*request, 0);
  EXPECT_REASON(status, Reason::kGpuMemoryExhausted);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("服务器繁忙请稍后重试"));
  EXPECT_TRUE(GetErrorDetail(status).retry_after.has_value());
  EXPECT_EQ(fixture.lines,
            std::vector<std::string>{
                "engine_0 GPU_MEMORY_EXHAUSTED: Request 0x7f8a1c2b requires 5.0KB but only 4.0KB available"});
  EXPECT_EQ(fixture.fields.required_bytes, 5000);
  EXPECT_EQ(fixture.fields.available_bytes, 4000);
}

TEST(AdmissionTest, RefusesForMemoryBeforeParsingWhenNoModelHasRoom) {
  AdmissionFixture fixture(/*blocks=*/10);
  auto first = Admit(fixture);
  ASSERT_OK(first->Finalize(*AdmissionFixture::MakeRequest(36, 1), 0));
  const int64_t waiting = fixture.controller->GetLoad().waiting;
  EXPECT_REASON(Admit(fixture, /*body_bytes=*/60), Reason::kGpuMemoryExhausted);  // about 18 tokens: 5 blocks
  EXPECT_EQ(fixture.controller->GetLoad().waiting, waiting) << "the refused request returned its slot";
  EXPECT_OK(Admit(fixture, /*body_bytes=*/400)) << "an estimate beyond the pool is for Finalize to judge";
}

TEST(AdmissionTest, EnqueueConsumesIfAndOnlyIfOk) {
  AdmissionFixture fixture;
  auto request = AdmissionFixture::MakeRequest(4, 4);
  auto ticket = Admit(fixture);
  EXPECT_FALSE(fixture.controller->Enqueue(0, std::move(request), *std::move(ticket)).ok()) << "not finalized";
  ASSERT_NE(request, nullptr);
  EXPECT_TRUE(ticket->holds_slot());
  ASSERT_OK(ticket->Finalize(*request, 0));
  EXPECT_FALSE(fixture.controller->Enqueue(1, std::move(request), *std::move(ticket)).ok()) << "no such model";
  ASSERT_NE(request, nullptr);
  ASSERT_OK(fixture.controller->Enqueue(0, std::move(request), *std::move(ticket)));
  EXPECT_EQ(request, nullptr);
  EXPECT_FALSE(ticket->holds_slot());
  EXPECT_EQ(fixture.controller->QueuedRequests(0), 1);

  auto late = AdmissionFixture::MakeRequest(4, 4);
  auto late_ticket = Admit(fixture);
  ASSERT_OK(late_ticket->Finalize(*late, 0));
  fixture.controller->BeginDrain();
  EXPECT_REASON(fixture.controller->Enqueue(0, std::move(late), *std::move(late_ticket)), Reason::kDraining);
  ASSERT_NE(late, nullptr);
  EXPECT_TRUE(late_ticket->holds_slot());
}

TEST(AdmissionTest, EnqueueWakesTheEngineAndSoDoesTheStream) {
  AdmissionFixture fixture;
  auto wake = std::make_shared<request::WakeSignal>();
  fixture.controller->SetWakeSignal(0, wake);
  auto request = AdmissionFixture::MakeRequest(4, 4);
  auto stream = request->stream;
  ASSERT_OK(fixture.Submit(request));
  EXPECT_NE(wake->Take() & request::WakeSignal::kEnqueued, 0u);
  stream->Cancel();
  EXPECT_NE(wake->Take() & request::WakeSignal::kConsumer, 0u);
}

TEST(AdmissionTest, PopsInClassOrderAndKeepsTheHeadWhenThereIsNoRoom) {
  AdmissionFixture fixture;
  for (Priority priority : {Priority::kLow, Priority::kHigh, Priority::kNormal}) {
    auto request = AdmissionFixture::MakeRequest(4, 4, priority);
    ASSERT_OK(fixture.Submit(request));
  }
  EXPECT_EQ(fixture.controller->NextTurn(0)->priority, Priority::kHigh);
  EXPECT_FALSE(Pop(fixture, [](const request::Request&) { return false; }).has_value());
  for (Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
    EXPECT_EQ(Pop(fixture)->request->priority, priority);
  }
  EXPECT_FALSE(Pop(fixture).has_value());
}

TEST(AdmissionTest, StartingReturnsThePlaceAndKeepsTheLease) {
  AdmissionFixture fixture;
  auto request = AdmissionFixture::MakeRequest(8, 8);
  ASSERT_OK(fixture.Submit(request));
  auto queued = Pop(fixture);
  ASSERT_TRUE(queued.has_value());
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 1);
  queued->ticket.ReleaseSlot();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 0);
  EXPECT_GT(fixture.pool.leased_bytes(), 0);
  queued.reset();
  EXPECT_EQ(fixture.pool.leased_bytes(), 0);
}

TEST(AdmissionTest, RemoveExpiredFindsTheExpiredAndTheCancelled) {
  AdmissionFixture fixture;
  auto expiring = AdmissionFixture::MakeRequest(4, 4);
  expiring->deadline = fixture.clock.Now() + absl::Seconds(1);
  auto cancelled = AdmissionFixture::MakeRequest(4, 4);
  auto cancelled_stream = cancelled->stream;
  auto alive = AdmissionFixture::MakeRequest(4, 4);
  const std::string expiring_id = expiring->id;
  ASSERT_OK(fixture.Submit(expiring));
  ASSERT_OK(fixture.Submit(cancelled));
  ASSERT_OK(fixture.Submit(alive));
  EXPECT_TRUE(fixture.controller->RemoveExpired(0, fixture.clock.Now(), true).empty());
  cancelled_stream->Cancel();
  EXPECT_TRUE(fixture.controller->RemoveExpired(0, fixture.clock.Now(), false).empty());
  EXPECT_EQ(fixture.controller->RemoveExpired(0, fixture.clock.Now(), true).size(), 1u);
  EXPECT_EQ(fixture.controller->NextDeadline(0), fixture.clock.Now() + absl::Seconds(1));
  fixture.clock.Advance(absl::Seconds(1));
  auto expired = fixture.controller->RemoveExpired(0, fixture.clock.Now(), false);
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].request->id, expiring_id);
  EXPECT_EQ(fixture.controller->QueuedRequests(0), 1);
  EXPECT_EQ(fixture.controller->NextDeadline(0), absl::InfiniteFuture());
}

// A full batch of steps of 0.1 s, of which a sequence ends every half second and gives back `blocks`; `more_places`
// are free.
void PublishRunning(AdmissionFixture& fixture, int sequences, int32_t blocks = 0, int32_t more_places = 0) {
  EngineLoad& load = fixture.controller->engine_load(0);
  load.SetStep({sequences + more_places, 64, {.step_s = 0.1}});
  load.BeginSequences();
  for (int i = 1; i <= sequences; ++i) {
    RunningSequence sequence;
    sequence.blocks = blocks;
    sequence.max_tokens = 10 * i;  // half of it is what is expected while no answer has been seen
    load.AddSequence(sequence);
  }
  load.EndSequences();
  fixture.controller->UpdateForecast(fixture.clock.Now());
}

double RetryAfter(const absl::Status& status) { return absl::ToDoubleSeconds(*GetErrorDetail(status).retry_after); }

TEST(AdmissionTest, PredictsTheWaitOfAnArrival) {
  AdmissionFixture fixture;
  EXPECT_FALSE(fixture.controller->PredictWait(Priority::kNormal, 10).known) << "no step has ended yet";
  PublishRunning(fixture, 8);
  const auto wait = [&](Priority priority) {
    const WaitPrediction prediction = fixture.controller->PredictWait(priority, 10);
    EXPECT_TRUE(prediction.known);
    EXPECT_NEAR(absl::ToDoubleSeconds(prediction.first_token - prediction.start), 0.1, 1e-3);
    return absl::ToDoubleSeconds(prediction.start);
  };
  EXPECT_NEAR(wait(Priority::kNormal), 0.5, 1e-3);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(*Admit(fixture, 100, Priority::kNormal));
  EXPECT_NEAR(wait(Priority::kNormal), 3, 1e-3);
  EXPECT_NEAR(wait(Priority::kHigh), 0.5, 1e-3);
  tickets.resize(3);
  EXPECT_NEAR(wait(Priority::kNormal), 2, 1e-3) << "who leaves is not ahead any more";
  tickets.clear();
  PublishRunning(fixture, 8, 0, /*more_places=*/1);
  EXPECT_EQ(wait(Priority::kLow), 0) << "a place is free";
}

TEST(AdmissionTest, WhoWouldWaitLongerThanItsClassMayIsRefused) {
  AdmissionFixture fixture(1000, 512, 0, 100000, AdmissionFixture::kBlockTokens, SurplusRetry::kOnce,
                           /*wait_limit=*/absl::Milliseconds(2600));
  std::vector<Ticket> unknown;
  for (int i = 0; i < 20; ++i) unknown.push_back(*Admit(fixture, 100, Priority::kNormal));
  unknown.clear();  // nobody is refused before a step has ended
  PublishRunning(fixture, 8);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(*Admit(fixture, 100, Priority::kNormal));
  const absl::Status refused = Admit(fixture, 100, Priority::kNormal).status();
  EXPECT_REASON(refused, Reason::kWaitLimit);
  EXPECT_THAT(refused.ToString(), ::testing::HasSubstr("class normal would wait about 3.0s, the limit is 2.6s"));
  EXPECT_GE(RetryAfter(refused), 1);
  EXPECT_OK(Admit(fixture, 100, Priority::kHigh)) << "it goes before them";
  const absl::StatusOr<Ticket> low = Admit(fixture, 100, Priority::kLow);
  EXPECT_OK(low) << "one of a class may always wait";
  EXPECT_REASON(Admit(fixture, 100, Priority::kLow).status(), Reason::kWaitLimit);
  tickets.clear();
  EXPECT_OK(Admit(fixture, 100, Priority::kNormal));
}

TEST(AdmissionTest, AQuietTenantDoesNotWaitForTheWholeLineOfAnother) {
  AdmissionFixture fixture(1000, 512, 0, 100000, AdmissionFixture::kBlockTokens, SurplusRetry::kOnce,
                           /*wait_limit=*/absl::Milliseconds(2600));
  PublishRunning(fixture, 8);
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

TEST(AdmissionTest, WhoIsRefusedIsPromisedAPartOfWhatComesFree) {
  AdmissionFixture fixture(/*blocks=*/100000, /*max_queue_requests=*/4);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(*Admit(fixture));
  const absl::Status unknown = Admit(fixture).status();
  EXPECT_FALSE(GetErrorDetail(unknown).promised);
  EXPECT_FALSE(GetErrorDetail(unknown).estimated_wait.has_value());
  EXPECT_GE(RetryAfter(unknown), 2) << "nothing has run yet";
  PublishRunning(fixture, 100);
  // Many more arrive afresh than two a second.
  for (int i = 0; i < 100; ++i) {
    fixture.clock.Advance(absl::Milliseconds(10));
    EXPECT_REASON(fixture.controller->CheckRoom({Priority::kNormal, "", "req", 1, {.gateway = true}}),
                  Reason::kConnectionQueueFull);
  }
  PublishRunning(fixture, 100);
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

TEST(AdmissionTest, MemoryIsPromisedTooAndKept) {
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
  PublishRunning(fixture, 50, /*blocks=*/9);
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

TEST(AdmissionTest, AFloodOfBatchLeavesTheHighClassItsSlots) {
  AdmissionFixture fixture(100000, 16);  // floors: high 2, normal 4, low 1
  auto wake = std::make_shared<request::WakeSignal>();
  fixture.controller->SetWakeSignal(0, wake);
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 14; ++i) {
    auto request = AdmissionFixture::MakeRequest(4, 4, Priority::kBatch);
    streams.push_back(request->stream);
    ASSERT_OK(fixture.Submit(request));
  }
  auto parsed = Admit(fixture, 0, Priority::kBatch);
  auto finalized = Admit(fixture, 0, Priority::kBatch);
  auto finalized_request = AdmissionFixture::MakeRequest(4, 4, Priority::kBatch);
  ASSERT_OK(finalized->Finalize(*finalized_request, 0));
  EXPECT_REASON(Admit(fixture, 0, Priority::kBatch), Reason::kConnectionQueueFull);
  wake->Take();

  // The newest give way first: what is parsed still learns it from its next step.
  auto high = Admit(fixture, 0, Priority::kHigh);
  ASSERT_OK(high);
  EXPECT_TRUE(finalized->evicted());
  const absl::Status refusal = fixture.controller->Enqueue(0, std::move(finalized_request), *std::move(finalized));
  EXPECT_REASON(refusal, Reason::kPreemptedInQueue);
  EXPECT_EQ(refusal.code(), absl::StatusCode::kUnavailable);
  EXPECT_GE(*GetErrorDetail(refusal).retry_after, absl::Seconds(1));
  ASSERT_NE(finalized_request, nullptr) << "consumed though refused";
  auto second = Admit(fixture, 0, Priority::kHigh);
  ASSERT_OK(second);
  EXPECT_REASON(parsed->CheckSlot(Priority::kBatch, "req"), Reason::kPreemptedInQueue);
  EXPECT_REASON(parsed->Finalize(*AdmissionFixture::MakeRequest(4, 4, Priority::kBatch), 0), Reason::kPreemptedInQueue);
  EXPECT_REASON(Admit(fixture, 0, Priority::kHigh), Reason::kConnectionQueueFull) << "the floor is used";
  wake->Take();

  // What waits in the queue is handed to the engine, which tells its client.
  auto low = Admit(fixture, 0, Priority::kLow);
  ASSERT_OK(low);
  EXPECT_NE(wake->Take() & request::WakeSignal::kConsumer, 0u);
  auto removed = fixture.controller->RemoveExpired(0, fixture.clock.Now(), /*look_for_cancelled=*/true);
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_EQ(removed[0].request->stream, streams.back());
  EXPECT_REASON(removed[0].refusal, Reason::kPreemptedInQueue);
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 16);
  EXPECT_EQ(hadal::testing::MetricValue(
                fixture.metrics,
                R"(hadal_admission_rejections_total{class="batch",length_class="256",reason="PREEMPTED_IN_QUEUE"})"),
            4);
  removed.clear();
  fixture.controller->DrainQueue(0);
  for (auto* ticket : {&*finalized, &*parsed, &*high, &*second, &*low}) ticket->Release();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 0);
  EXPECT_EQ(fixture.pool.active_leases(), 0);
}

TEST(AdmissionTest, ARequestThatStartsBeforeItsEvictionIsSeenRuns) {
  AdmissionFixture fixture(100000, 2);
  for (int i = 0; i < 2; ++i) {
    auto request = AdmissionFixture::MakeRequest(4, 4, Priority::kBatch);
    ASSERT_OK(fixture.Submit(request));
  }
  auto high = Admit(fixture, 0, Priority::kHigh);
  auto normal = Admit(fixture, 0, Priority::kNormal);
  ASSERT_OK(normal);
  auto queued = Pop(fixture);
  ASSERT_TRUE(queued.has_value());
  queued->ticket.ReleaseSlot();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 2) << "the slot had been given away already";
  EXPECT_GT(queued->ticket.leased_bytes(), 0);
}

TEST(AdmissionTest, AQuietTenantEntersAQueueThatANoisyOneFilled) {
  AdmissionFixture fixture(100000, 8);
  std::vector<Ticket> noisy;
  for (int i = 0; i < 8; ++i) noisy.push_back(*fixture.controller->TryAdmit({Priority::kNormal, "noisy", "n", 10}));
  EXPECT_FALSE(fixture.controller->TryAdmit({Priority::kNormal, "noisy", "n", 10}).ok());
  std::vector<Ticket> quiet;
  for (int i = 0; i < 4; ++i) {
    auto ticket = fixture.controller->TryAdmit({Priority::kNormal, "quiet", "q", 10});
    ASSERT_OK(ticket) << i;
    quiet.push_back(*std::move(ticket));
  }
  EXPECT_FALSE(fixture.controller->TryAdmit({Priority::kNormal, "quiet", "q", 10}).ok());
  EXPECT_EQ(std::count_if(noisy.begin(), noisy.end(), [](const Ticket& t) { return t.evicted(); }), 4);
}

TEST(AdmissionTest, TheClassThatTheBodyNamesIsCountedFromFinalizeOn) {
  AdmissionFixture fixture;
  auto ticket = Admit(fixture, 100, Priority::kNormal);
  ASSERT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(7, 4, Priority::kLow), 0));
  const AdmissionLoad load = fixture.controller->GetLoad();
  EXPECT_EQ(load.waiting_by_class, (std::array<int64_t, 4>{0, 0, 1, 0}));
  EXPECT_EQ(load.tokens_by_class, (std::array<int64_t, 4>{0, 0, 7, 0}));
}

TEST(AdmissionTest, WhatStillWaitsAtTheEndIsClosed) {
  AdmissionFixture fixture;
  auto request = AdmissionFixture::MakeRequest(4, 4);
  auto stream = request->stream;
  ASSERT_OK(fixture.Submit(request));
  fixture.controller.reset();
  const request::StreamBatch batch = stream->Read();
  EXPECT_TRUE(batch.closed);
  EXPECT_REASON(batch.status, Reason::kDraining);
  EXPECT_EQ(fixture.pool.leased_bytes(), 0);
}

}  // namespace
}  // namespace hadal::admission
