// SPDX-License-Identifier: Apache-2.0
// Leases of requests that share a prompt: more of them run at a time, and what runs is leased.
#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::engine {
namespace {

using hadal::testing::AdmissionFixture;
using hadal::testing::LoopFixture;
using hadal::testing::MetricValue;
using request::Reason;

// A common beginning, then tokens of its own.
std::vector<int32_t> Prompt(int32_t common, int32_t own, int32_t which) {
  std::vector<int32_t> prompt = LoopFixture::Prompt(common);
  const std::vector<int32_t> rest = LoopFixture::Prompt(own, 100 + which);
  prompt.insert(prompt.end(), rest.begin(), rest.end());
  return prompt;
}

int64_t LeasedBlocks(LoopFixture& f) { return f.admission.pool.leased_bytes() / AdmissionFixture::kBlockBytes; }

TEST(SchedulerLeasesTest, RequestsWithACommonPromptRunTogetherWhereWholePromptsWouldNotFit) {
  // 40 of 60 blocks are the common prompt: two whole prompts would not fit.
  LoopFixture f({.blocks = 60});
  auto first = f.Submit(Prompt(160, 3, 0), 40);
  for (int i = 0; i < 5; ++i) f.Round();
  std::vector<std::shared_ptr<request::TokenStream>> others;
  for (int i = 1; i <= 3; ++i) others.push_back(f.Submit(Prompt(160, 3, i), 8));
  for (int i = 0; i < 4; ++i) {
    f.Round();
    ASSERT_LE(f.state().leased_blocks, LeasedBlocks(f));
  }
  EXPECT_EQ(f.state().running, 4);
  EXPECT_EQ(f.observer.preemptions, 0);
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(f.Finish(others[i - 1]).tokens[0], f.Expected(Prompt(160, 3, i), 8));
  }
  f.ExpectEmpty();
}

TEST(SchedulerLeasesTest, TheLeaseHoldsWhenTheSharedBlocksAreEvictedBeforeTheStart) {
  LoopFixture f({.blocks = 60, .max_batch_size = 1});
  const auto finish = [&](const std::shared_ptr<request::TokenStream>& stream) {
    for (int i = 0; i < 200; ++i) {
      f.Round();
      ASSERT_LE(f.state().leased_blocks, LeasedBlocks(f));
      if (stream->Read().closed) return;
    }
    FAIL() << "it does not end";
  };
  auto first = f.Submit(Prompt(160, 3, 0), 4);
  for (int i = 0; i < 4; ++i) f.Round();
  auto sharer = f.Submit(Prompt(160, 3, 1), 4);
  EXPECT_EQ(LeasedBlocks(f), 42) << "one block, besides what the first has";
  // Two more urgent ones have the only place in turn. What the first of them leaves in the cache is younger than the
  // common prompt, so the second takes blocks of that.
  auto urgent = f.Submit(LoopFixture::Prompt(45, 9), 4, request::Priority::kHigh);
  finish(first);
  EXPECT_EQ(LeasedBlocks(f), 41 + 12) << "the common prompt stays leased";
  finish(urgent);
  urgent = f.Submit(LoopFixture::Prompt(70, 5), 4, request::Priority::kHigh);
  finish(urgent);
  const int64_t hits = f.observer.hit_tokens;
  EXPECT_EQ(f.Finish(sharer).tokens[0], f.Expected(Prompt(160, 3, 1), 4));
  EXPECT_GT(f.observer.hit_tokens, hits);
  EXPECT_LT(f.observer.hit_tokens, hits + 160) << "a part of it was evicted, and computed again";
  EXPECT_EQ(f.observer.preemptions, 0);
  f.ExpectEmpty();
}

TEST(SchedulerLeasesTest, WhatOutgrowsItsLeaseIsLeasedMoreOnceBlocksAreShort) {
  LoopFixture f({.blocks = 40});
  for (int i = 0; i < 50; ++i) {
    f.admission.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 400), 4);
  }
  auto stream = f.Submit(LoopFixture::Prompt(8), 145);
  EXPECT_EQ(LeasedBlocks(f), 3);
  int32_t most = 0;
  while (!stream->Read().closed) {
    f.Round();
    most = std::max<int32_t>(most, f.state().leased_blocks);
    const bool ample = f.state().free_blocks > 40 / 20;
    ASSERT_TRUE(ample ? LeasedBlocks(f) == 3 : f.state().leased_blocks <= LeasedBlocks(f)) << f.state().leased_blocks;
  }
  EXPECT_EQ(most, 38);
  EXPECT_GE(MetricValue(f.admission.metrics, R"(hadal_lease_extensions_total{outcome="granted"})"), 1);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(SchedulerLeasesTest, LeasesFollowAnswersThatHaveNotEnded) {
  LoopFixture f;
  for (int i = 0; i < 20; ++i) {
    f.admission.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 400), 4);
  }
  const auto lease = [&] {
    const int64_t before = LeasedBlocks(f);
    auto stream = f.Submit(LoopFixture::Prompt(8), 150);
    const int64_t blocks = LeasedBlocks(f) - before;
    stream->Cancel();
    f.Round();
    return blocks;
  };
  EXPECT_EQ(lease(), 3);
  std::vector<std::shared_ptr<request::TokenStream>> running;
  for (int i = 0; i < 15; ++i) running.push_back(f.Submit(LoopFixture::Prompt(8, i), 150));
  for (int i = 0; i < 60; ++i) f.Round();
  EXPECT_GE(lease(), 12) << "15 of 35 have come to fifty tokens, and none of them has ended";
  for (const auto& stream : running) stream->Cancel();
  f.RunUntilIdle();
  EXPECT_GE(lease(), 12) << "nor have they when they are cancelled";
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(SchedulerLeasesTest, AModelWithWindowsLeasesWholePrompts) {
  LoopFixture f({.blocks = 60, .window_tokens = 8});
  auto first = f.Submit(Prompt(160, 3, 0), 40);
  for (int i = 0; i < 5; ++i) f.Round();
  auto second = LoopFixture::MakeRequest(Prompt(160, 3, 1), 8);
  EXPECT_REASON(f.admission.Submit(second), Reason::kGpuMemoryExhausted);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

// Clients of a few agents with long common prompts over a pool that is too small, some of which leave. Answers that are
// as long as foreseen never cost a preemption; others may, and even then the leases cover what is held.
TEST(SchedulerLeasesTest, AStormOfSharersNeverHoldsMoreThanItLeases) {
  int64_t most_running = 0, admitted = 0;
  for (const bool as_foreseen : {true, false}) {
    for (uint32_t seed = 1; seed <= 10; ++seed) {
      LoopFixture f({.blocks = 120, .max_batch_size = 12, .max_batch_tokens = 48});
      std::mt19937 random(seed);
      const auto draw = [&](int n) { return static_cast<int>(random() % n); };
      for (int i = 0; i < 100; ++i) {
        f.admission.controller->RecordOutputLength(0, *AdmissionFixture::MakeRequest(8, 400), 8);
      }
      std::vector<std::shared_ptr<request::TokenStream>> streams;
      for (int round = 0; round < 600; ++round) {
        if (round < 500 && draw(3) == 0) {
          auto request = LoopFixture::MakeRequest(Prompt(120 + 40 * draw(2), 1 + draw(9), draw(50)),
                                                  as_foreseen ? 8 : 1 + draw(40));
          request->n = draw(8) == 0 ? 2 : 1;
          auto stream = request->stream;
          if (f.admission.Submit(request).ok()) {
            streams.push_back(std::move(stream));
            ++admitted;
          }
        }
        if (!streams.empty() && draw(40) == 0) streams[draw(static_cast<int>(streams.size()))]->Cancel();
        f.Round();
        f.admission.clock.Advance(absl::Milliseconds(1));
        std::erase_if(streams, [](const auto& stream) { return stream->Read().closed; });
        most_running = std::max<int64_t>(most_running, f.state().running);
        if (as_foreseen) {
          ASSERT_LE(f.state().leased_blocks, LeasedBlocks(f)) << "seed " << seed << ", round " << round;
        }
      }
      f.RunUntilIdle();
      for (const auto& stream : streams) stream->Read();
      f.RunUntilIdle();
      f.ExpectEmpty();
      if (as_foreseen) {
        EXPECT_EQ(f.observer.preemptions, 0) << "seed " << seed;
      }
    }
  }
  EXPECT_GE(most_running, 8) << "without sharing three prompts fill the pool";
  EXPECT_GE(admitted, 1000);
}

}  // namespace
}  // namespace hadal::engine
