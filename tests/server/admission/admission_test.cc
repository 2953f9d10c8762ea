// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>
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
  auto first = fixture.Admit();
  auto second = fixture.Admit();
  ASSERT_OK(first);
  ASSERT_OK(second);
  auto third = fixture.Admit();
  EXPECT_REASON(third, Reason::kConnectionQueueFull);
  EXPECT_THAT(std::string(third.status().message()), ::testing::HasSubstr("服务器繁忙请稍后重试"));
  EXPECT_THAT(std::string(third.status().message()), ::testing::HasSubstr("queue full, 2/2 waiting"));
  const absl::Duration hint = *GetErrorDetail(third.status()).retry_after;
  EXPECT_GE(hint, absl::Seconds(1));
  EXPECT_LE(hint, absl::Seconds(30));
  EXPECT_EQ(fixture.lines, std::vector<std::string>{"admission CONNECTION_QUEUE_FULL: 2/2 pending connections"});
  EXPECT_GT(fixture.fields.retry_after_ms, 0);
  first->Release();
  EXPECT_OK(fixture.Admit());
}

TEST(AdmissionTest, AskingForRoomTakesNothing) {
  AdmissionFixture fixture(1000, 1);
  for (int i = 0; i < 3; ++i) EXPECT_OK(fixture.controller->CheckRoom({Priority::kNormal, "", "req", 100}));
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
  auto ticket = fixture.Admit();
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
        auto ticket = fixture.Admit();
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
        auto first = fixture.Admit();
        auto second = fixture.Admit();
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

TEST(AdmissionTest, WhomADrainSendsAwayComesToTheOthersEvenlyOverASecond) {
  AdmissionFixture fixture;
  fixture.controller->BeginDrain();
  constexpr int kTenths = 10, kRequests = 200;
  std::array<int, kTenths> by_tenth = {};
  for (int i = 0; i < kRequests; ++i) {
    // Some had been admitted, others come only now.
    const absl::Status status = i % 2 == 0 ? fixture.controller->EndedBy(Reason::kDraining) : fixture.Admit().status();
    EXPECT_REASON(status, Reason::kDraining);
    EXPECT_THAT(status.message(), ::testing::HasSubstr("服务器繁忙"));
    const absl::Duration hint = *GetErrorDetail(status).retry_after;
    ASSERT_GE(hint, absl::Seconds(1));
    ASSERT_LT(hint, absl::Seconds(2));
    ++by_tenth[static_cast<size_t>((hint - absl::Seconds(1)) / absl::Milliseconds(100))];
  }
  EXPECT_THAT(by_tenth, ::testing::Each(::testing::AllOf(::testing::Ge(18), ::testing::Le(22))));
}

TEST(AdmissionTest, WhatAFaultEndsReturnsAfterTheMeasuredStart) {
  AdmissionFixture fixture;
  AdmissionController::Options options;
  options.clock = &fixture.clock;
  auto controller = *AdmissionController::Create(options);
  fixture.clock.Advance(absl::Seconds(20));
  controller->SetReady();
  controller->SetDeviceFault("lost");
  for (const absl::Status& status : {controller->EndedBy(Reason::kDeviceFault), controller->TryAdmit({}).status()}) {
    EXPECT_REASON(status, Reason::kDeviceFault);
    EXPECT_GE(*GetErrorDetail(status).retry_after, absl::Seconds(20));
    EXPECT_LE(*GetErrorDetail(status).retry_after, absl::Seconds(22));
  }
}

TEST(AdmissionTest, QueuedTokensAreEstimatedThenCorrected) {
  AdmissionFixture fixture(100000, 512, /*max_queue_tokens=*/1000);
  auto first = fixture.Admit(2000);  // 0.3 tokens a byte
  ASSERT_OK(first);
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 600);
  auto second = fixture.Admit(2000);
  EXPECT_REASON(second, Reason::kQueueTokensFull);
  EXPECT_THAT(fixture.lines, ::testing::ElementsAre("admission QUEUE_TOKENS_FULL: 600/1000 pending tokens"));
  auto request = AdmissionFixture::MakeRequest(200, 10);
  ASSERT_OK(first->Finalize(*request, 0));
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 200);
  auto third = fixture.Admit(2000);  // the ratio seen, 0.1, has lowered the estimate
  ASSERT_OK(third);
  EXPECT_LT(fixture.controller->GetLoad().waiting_tokens, 800);
}

TEST(AdmissionTest, APromptAboveTheTokenLimitEntersAnEmptyQueue) {
  AdmissionFixture fixture(1'000'000, 512, /*max_queue_tokens=*/100);
  auto ticket = fixture.Admit(10000);
  ASSERT_OK(ticket);
  EXPECT_REASON(fixture.Admit(1), Reason::kQueueTokensFull);
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
  auto parsed = fixture.Admit(0, Priority::kBatch);
  auto finalized = fixture.Admit(0, Priority::kBatch);
  auto finalized_request = AdmissionFixture::MakeRequest(4, 4, Priority::kBatch);
  ASSERT_OK(finalized->Finalize(*finalized_request, 0));
  EXPECT_REASON(fixture.Admit(0, Priority::kBatch), Reason::kConnectionQueueFull);
  wake->Take();

  // The newest give way first: what is parsed still learns it from its next step.
  auto high = fixture.Admit(0, Priority::kHigh);
  ASSERT_OK(high);
  EXPECT_TRUE(finalized->evicted());
  const absl::Status refusal = fixture.controller->Enqueue(0, std::move(finalized_request), *std::move(finalized));
  EXPECT_REASON(refusal, Reason::kPreemptedInQueue);
  EXPECT_EQ(refusal.code(), absl::StatusCode::kUnavailable);
  EXPECT_GE(*GetErrorDetail(refusal).retry_after, absl::Seconds(1));
  ASSERT_NE(finalized_request, nullptr) << "consumed though refused";
  auto second = fixture.Admit(0, Priority::kHigh);
  ASSERT_OK(second);
  EXPECT_REASON(parsed->CheckSlot(Priority::kBatch, "req"), Reason::kPreemptedInQueue);
  EXPECT_REASON(parsed->Finalize(*AdmissionFixture::MakeRequest(4, 4, Priority::kBatch), 0), Reason::kPreemptedInQueue);
  EXPECT_REASON(fixture.Admit(0, Priority::kHigh), Reason::kConnectionQueueFull) << "the floor is used";
  wake->Take();

  // What waits in the queue is handed to the engine, which tells its client.
  auto low = fixture.Admit(0, Priority::kLow);
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

}  // namespace
}  // namespace hadal::admission
