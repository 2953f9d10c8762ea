// SPDX-License-Identifier: Apache-2.0
// The queues: front ends push, engines pop.
#include <string>

#include "gtest/gtest.h"
#include "tests/support/admission_fixture.h"

namespace hadal::admission {
namespace {

using hadal::testing::AdmissionFixture;
using request::Priority;
using request::Reason;

TEST(AdmissionQueueTest, EnqueueConsumesIfAndOnlyIfOk) {
  AdmissionFixture fixture;
  auto request = AdmissionFixture::MakeRequest(4, 4);
  auto ticket = fixture.Admit();
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
  auto late_ticket = fixture.Admit();
  ASSERT_OK(late_ticket->Finalize(*late, 0));
  fixture.controller->BeginDrain();
  EXPECT_REASON(fixture.controller->Enqueue(0, std::move(late), *std::move(late_ticket)), Reason::kDraining);
  ASSERT_NE(late, nullptr);
  EXPECT_TRUE(late_ticket->holds_slot());
}

TEST(AdmissionQueueTest, EnqueueWakesTheEngineAndSoDoesTheStream) {
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

TEST(AdmissionQueueTest, PopsInClassOrderAndKeepsTheHeadWhenThereIsNoRoom) {
  AdmissionFixture fixture;
  for (Priority priority : {Priority::kLow, Priority::kHigh, Priority::kNormal}) {
    auto request = AdmissionFixture::MakeRequest(4, 4, priority);
    ASSERT_OK(fixture.Submit(request));
  }
  EXPECT_EQ(fixture.controller->NextTurn(0)->priority, Priority::kHigh);
  EXPECT_FALSE(fixture.Pop([](const request::Request&, Ticket&) { return false; }).has_value());
  for (Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
    EXPECT_EQ(fixture.Pop()->request->priority, priority);
  }
  EXPECT_FALSE(fixture.Pop().has_value());
}

TEST(AdmissionQueueTest, StartingReturnsThePlaceAndKeepsTheLease) {
  AdmissionFixture fixture;
  auto request = AdmissionFixture::MakeRequest(8, 8);
  ASSERT_OK(fixture.Submit(request));
  auto queued = fixture.Pop();
  ASSERT_TRUE(queued.has_value());
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 1);
  queued->ticket.ReleaseSlot();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 0);
  EXPECT_EQ(fixture.controller->GetLoad().waiting_tokens, 0);
  EXPECT_GT(fixture.pool.leased_bytes(), 0);
  queued.reset();
  EXPECT_EQ(fixture.pool.leased_bytes(), 0);
}

TEST(AdmissionQueueTest, RemoveExpiredFindsTheExpiredAndTheCancelled) {
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

TEST(AdmissionQueueTest, ARequestThatStartsBeforeItsEvictionIsSeenRuns) {
  AdmissionFixture fixture(100000, 2);
  for (int i = 0; i < 2; ++i) {
    auto request = AdmissionFixture::MakeRequest(4, 4, Priority::kBatch);
    ASSERT_OK(fixture.Submit(request));
  }
  auto high = fixture.Admit(0, Priority::kHigh);
  auto normal = fixture.Admit(0, Priority::kNormal);
  ASSERT_OK(normal);
  auto queued = fixture.Pop();
  ASSERT_TRUE(queued.has_value());
  queued->ticket.ReleaseSlot();
  EXPECT_EQ(fixture.controller->GetLoad().waiting, 2) << "the slot had been given away already";
  EXPECT_GT(queued->ticket.leased_bytes(), 0);
}

TEST(AdmissionQueueTest, WhatStillWaitsAtTheEndIsClosed) {
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
