// SPDX-License-Identifier: Apache-2.0
// From reservation to queue: true sizes and memory leases.
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/admission_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::admission {
namespace {

using hadal::testing::AdmissionFixture;
using hadal::testing::MetricValue;
using request::GetErrorDetail;
using request::Priority;
using request::Reason;

TEST(AdmissionFinalizeTest, FinalizeRefusesWhatCanNeverRun) {
  AdmissionFixture fixture(/*blocks=*/10, 512, 0, /*max_model_len=*/50);
  auto ticket = fixture.Admit();
  const absl::Status too_long = ticket->Finalize(*AdmissionFixture::MakeRequest(41, 10), 0);
  EXPECT_REASON(too_long, Reason::kContextLengthExceeded);
  EXPECT_EQ(too_long.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(GetErrorDetail(too_long).retry_after.has_value());
  ticket = fixture.Admit();
  EXPECT_REASON(ticket->Finalize(*AdmissionFixture::MakeRequest(32, 10), 0), Reason::kRequestNeverFits);
  ticket = fixture.Admit();
  EXPECT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(31, 10), 0));  // 40 tokens in the cache: all 10 blocks
}

TEST(AdmissionFinalizeTest, LeaseIsThePromptAndThePredictedOutput) {
  AdmissionFixture fixture;
  auto ticket = fixture.Admit();
  ASSERT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(8, 16), 0));
  // Cold: half of max_tokens, 8; 15 tokens need a slot: 4 blocks.
  EXPECT_EQ(ticket->leased_bytes(), 4000);
  EXPECT_EQ(fixture.pool.leased_bytes(), 4000);
  for (int i = 0; i < 100; ++i) fixture.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 16), 2);
  auto learned = fixture.Admit();
  ASSERT_OK(learned->Finalize(*AdmissionFixture::MakeRequest(8, 16), 0));
  EXPECT_EQ(learned->leased_bytes(), 3000);
  auto thinking = AdmissionFixture::MakeRequest(8, 16);
  thinking->thinking = true;
  auto unknown = fixture.Admit();
  ASSERT_OK(unknown->Finalize(*thinking, 0));
  EXPECT_EQ(unknown->leased_bytes(), 4000) << "of answers that begin with reasoning nothing is known yet";
  unknown->Release();
  auto fixed = AdmissionFixture::MakeRequest(8, 16);
  fixed->least_tokens = 13;  // 20 tokens need a slot: 5 blocks
  auto known = fixture.Admit();
  ASSERT_OK(known->Finalize(*fixed, 0));
  EXPECT_EQ(known->leased_bytes(), 5000) << "it cannot be shorter, whatever was seen";
  known->Release();
  ticket->Release();
  learned->Release();
  EXPECT_EQ(fixture.pool.leased_bytes(), 0);
  EXPECT_EQ(fixture.pool.active_leases(), 0);
}

TEST(AdmissionFinalizeTest, ChoicesShareThePromptsFullBlocks) {
  AdmissionFixture fixture;
  auto ticket = fixture.Admit();
  auto request = AdmissionFixture::MakeRequest(9, 8);  // predicted 4: 12 slots, 3 blocks, 2 of them shared
  request->n = 3;
  ASSERT_OK(ticket->Finalize(*request, 0));
  EXPECT_EQ(ticket->leased_bytes(), (3 + 2 * 1) * 1000);
}

TEST(AdmissionFinalizeTest, ABatchLeavesAQuarterOfTheMemoryWhileOthersCome) {
  AdmissionFixture fixture(/*blocks=*/16);
  const auto lease = [&](int32_t prompt_tokens, Priority priority) {
    auto ticket = fixture.Admit(0, priority);
    EXPECT_OK(ticket.status());
    const absl::Status status = ticket->Finalize(*AdmissionFixture::MakeRequest(prompt_tokens, 1, priority), 0);
    return std::make_pair(status, *std::move(ticket));
  };
  {
    auto alone = lease(64, Priority::kBatch);
    EXPECT_OK(alone.first) << "nobody else comes";
  }
  lease(4, Priority::kNormal);
  auto batch = lease(48, Priority::kBatch);
  EXPECT_OK(batch.first) << "12 of 16 blocks";
  auto more = lease(4, Priority::kBatch);
  EXPECT_REASON(more.first, Reason::kGpuMemoryExhausted);
  EXPECT_THAT(fixture.lines.back(), ::testing::HasSubstr("requires 1.0KB but only 0B available"));
  auto low = lease(16, Priority::kLow);
  EXPECT_OK(low.first) << "what is left is for others";
  low.second.Release();
  batch.second.Release();
  EXPECT_OK(lease(64, Priority::kBatch).first) << "one that needs more runs when nothing else has memory";
  auto again = lease(48, Priority::kBatch);
  EXPECT_REASON(lease(4, Priority::kBatch).first, Reason::kGpuMemoryExhausted);
  fixture.clock.Advance(absl::Minutes(3));
  EXPECT_OK(lease(4, Priority::kBatch).first) << "nobody has come for a while";
}

TEST(AdmissionFinalizeTest, RefusesWhenMemoryWouldOverflow) {
  AdmissionFixture fixture(/*blocks=*/10);
  auto first = fixture.Admit();
  ASSERT_OK(first->Finalize(*AdmissionFixture::MakeRequest(24, 1), 0));
  auto second = fixture.Admit();
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

TEST(AdmissionFinalizeTest, RefusesForMemoryBeforeParsingWhenNoModelHasRoom) {
  AdmissionFixture fixture(/*blocks=*/10);
  auto first = fixture.Admit();
  ASSERT_OK(first->Finalize(*AdmissionFixture::MakeRequest(36, 1), 0));
  const int64_t waiting = fixture.controller->GetLoad().waiting;
  EXPECT_REASON(fixture.Admit(/*body_bytes=*/60), Reason::kGpuMemoryExhausted);  // about 18 tokens: 5 blocks
  EXPECT_EQ(fixture.controller->GetLoad().waiting, waiting) << "the refused request returned its slot";
  EXPECT_OK(fixture.Admit(/*body_bytes=*/400)) << "an estimate beyond the pool is for Finalize to judge";
}

// Served in the place of first attempts, those who return without a promise would make more attempts of all.
TEST(AdmissionFinalizeTest, WhoReturnsWithoutAPromiseLeavesMemoryToFirstAttempts) {
  AdmissionFixture fixture(/*blocks=*/1000);
  const auto lease = [&](int32_t blocks, RetryCaller caller) {
    auto ticket = fixture.controller->TryAdmit({Priority::kNormal, "", "req", 1, caller});
    if (!ticket.ok()) return std::pair(ticket.status(), Ticket());
    auto request = AdmissionFixture::MakeRequest(blocks * AdmissionFixture::kBlockTokens, 1);
    request->cache_salt = 1 + fixture.controller->GetLoad().memory_leased_bytes;  // it shares nothing
    const absl::Status status = ticket->Finalize(*request, 0);
    return std::pair(status, *std::move(ticket));
  };
  const RetryCaller again{.key = 5, .quality = KeyQuality::kRetry, .attempt = 1};
  const RetryCaller surplus{.key = 7, .quality = KeyQuality::kOwn};
  EXPECT_OK(lease(1000, again).first) << "alone it may have everything";
  auto running = lease(930, {});
  ASSERT_OK(running.first);
  EXPECT_REASON(lease(20, again).first, Reason::kGpuMemoryExhausted) << "70 blocks are free, 62 it has to leave";
  EXPECT_OK(lease(70, {}).first);
  EXPECT_OK(lease(8, again).first);

  fixture.PublishRunning(1);  // nothing comes free
  const absl::Status refused = lease(80, surplus).first;
  EXPECT_REASON(refused, Reason::kGpuMemoryExhausted);
  ASSERT_FALSE(GetErrorDetail(refused).promised);
  EXPECT_REASON(lease(8, surplus).first, Reason::kGpuMemoryExhausted) << "it was told that no capacity is in sight";
  running.second = Ticket();
  auto fewer = lease(820, {});
  ASSERT_OK(fewer.first);
  EXPECT_OK(lease(50, surplus).first) << "an eighth stays free";
}

TEST(AdmissionFinalizeTest, LeasesOnlyWhatOthersHaveNotLeased) {
  AdmissionFixture fixture(/*blocks=*/16);
  const auto request = [] { return AdmissionFixture::MakeRequest(41, 1); };  // 11 blocks, of which 10 can be shared
  auto first = fixture.Admit();
  ASSERT_OK(first->Finalize(*request(), 0));
  EXPECT_EQ(first->leased_blocks(), 11);
  EXPECT_REASON(fixture.Admit()->Finalize(*request(), 0), Reason::kGpuMemoryExhausted);
  ASSERT_TRUE(first->StartPrefix(0));
  for (int32_t i = 0; i < 11; ++i) first->PublishPrefix(i);
  std::vector<Ticket> others;
  for (int i = 0; i < 5; ++i) {
    auto ticket = fixture.Admit(/*body_bytes=*/140);
    ASSERT_OK(ticket) << "the door cannot know that it shares its prompt";
    if (i == 0) {
      EXPECT_REASON(fixture.Admit(140), Reason::kGpuMemoryExhausted) << "one in ten milliseconds";
    }
    ASSERT_OK(ticket->Finalize(*request(), 0));
    EXPECT_EQ(ticket->leased_blocks(), 1);
    others.push_back(*std::move(ticket));
    fixture.clock.Advance(absl::Milliseconds(10));
  }
  EXPECT_REASON(fixture.Admit()->Finalize(*request(), 0), Reason::kGpuMemoryExhausted);
  auto scored = request();
  scored->prompt_logprobs = true;
  others.clear();
  EXPECT_REASON(fixture.Admit()->Finalize(*scored, 0), Reason::kGpuMemoryExhausted) << "it computes all of its prompt";
  EXPECT_EQ(MetricValue(fixture.metrics, R"(hadal_lease_prompt_blocks_total{kind="leased"})"), 11 + 5);
  EXPECT_EQ(MetricValue(fixture.metrics, R"(hadal_lease_prompt_blocks_total{kind="shared"})"), 5 * 10);
  first->Release();
  EXPECT_EQ(fixture.pool.leased_bytes(), 0);
}

TEST(AdmissionFinalizeTest, TheQuantileFollowsWhatTheEngineComputesAgain) {
  AdmissionFixture fixture;
  for (int i = 1; i <= 100; ++i) fixture.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 400), i);
  const auto leased = [&] {
    auto ticket = fixture.Admit();
    EXPECT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(8, 400), 0));
    return ticket->leased_blocks();
  };
  const int64_t before = leased();
  EXPECT_EQ(MetricValue(fixture.metrics, R"(hadal_lease_quantile_ratio{model="test"})"), 0.7);
  for (int i = 0; i < 60; ++i) {
    fixture.controller->RecordLeaseFit(0, {.tokens = 100, .recomputed_tokens = 10, .used_blocks = 1000});
    fixture.clock.Advance(absl::Seconds(1));
  }
  EXPECT_EQ(MetricValue(fixture.metrics, R"(hadal_lease_quantile_ratio{model="test"})"), 0.95);
  EXPECT_GT(leased(), before + 5);
}

TEST(AdmissionFinalizeTest, AnAnswerThatOutgrowsItsLeaseIsLeasedMore) {
  AdmissionFixture fixture(/*blocks=*/20);
  for (int i = 0; i < 50; ++i) {
    for (const int length : {4, 40}) {
      fixture.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 400), length);
    }
  }
  auto request = AdmissionFixture::MakeRequest(8, 60);
  auto ticket = fixture.Admit();
  ASSERT_OK(ticket->Finalize(*request, 0));
  const int64_t before = ticket->leased_blocks();
  const int32_t tokens = ticket->ExtendLease(*request, /*produced=*/30, /*overrun=*/4);
  EXPECT_GE(tokens, 12) << "those that have 30 end with 40";
  EXPECT_LE(tokens, 20);
  EXPECT_EQ(ticket->leased_blocks(), before + tokens / 4);
  MemoryLease others = fixture.pool.TryLease(fixture.pool.available_bytes()).value();
  EXPECT_EQ(ticket->ExtendLease(*request, 30, 4), 0);
  EXPECT_EQ(MetricValue(fixture.metrics, R"(hadal_lease_extensions_total{outcome="granted"})"), 1);
  EXPECT_EQ(MetricValue(fixture.metrics, R"(hadal_lease_extensions_total{outcome="refused"})"), 1);
}

TEST(AdmissionFinalizeTest, TheClassThatTheBodyNamesIsCountedFromFinalizeOn) {
  AdmissionFixture fixture;
  auto ticket = fixture.Admit(100, Priority::kNormal);
  ASSERT_OK(ticket->Finalize(*AdmissionFixture::MakeRequest(7, 4, Priority::kLow), 0));
  const AdmissionLoad load = fixture.controller->GetLoad();
  EXPECT_EQ(load.waiting_by_class, (std::array<int64_t, 4>{0, 0, 1, 0}));
  EXPECT_EQ(load.tokens_by_class, (std::array<int64_t, 4>{0, 0, 7, 0}));
}

}  // namespace
}  // namespace hadal::admission
