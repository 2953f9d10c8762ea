// SPDX-License-Identifier: Apache-2.0
#include "server/admission/capacity_replay.h"

#include <chrono>
#include <cstdio>

#include "gtest/gtest.h"
#include "tests/support/cpu_time.h"

namespace hadal::admission {
namespace {

using hadal::testing::ThreadCpuTime;

// Steps of 10 ms, whatever is in them.
ReplayState State(int32_t max_batch_size, int32_t max_batch_tokens = 1 << 20) {
  ReplayState state;
  state.max_batch_size = max_batch_size;
  state.max_batch_tokens = max_batch_tokens;
  state.step_time.step_s = 0.01;
  state.free_blocks = 1e9;
  state.arriving = {{.output_tokens = 100, .blocks = 2}};
  return state;
}

int Bucket(double seconds) { return static_cast<int>(seconds / absl::ToDoubleSeconds(kForecastBucket)); }

TEST(CapacityReplayTest, AnEmptyServerHasAllItsPlaces) {
  const ReplayResult result = ReplayCapacity(State(8));
  EXPECT_EQ(result.starts[0], 8);
  EXPECT_EQ(result.blocks[0], 1e9F);
}

TEST(CapacityReplayTest, PlacesComeFreeAsSequencesEnd) {
  ReplayState state = State(3);
  state.running = {{.output_tokens = 40, .blocks = 5}, {.output_tokens = 90, .blocks = 7}, {.output_tokens = 190}};
  state.free_blocks = 4;
  const ReplayResult result = ReplayCapacity(state);
  EXPECT_EQ(result.starts[0], 0);
  EXPECT_EQ(result.blocks[0], 4);
  EXPECT_EQ(result.starts[Bucket(0.25)], 0);
  EXPECT_EQ(result.starts[Bucket(0.5)], 1);
  EXPECT_EQ(result.blocks[Bucket(0.5)], 9);
  EXPECT_EQ(result.starts[Bucket(1)], 2);
  EXPECT_EQ(result.blocks[Bucket(1)], 16);
  EXPECT_EQ(result.starts[Bucket(1.25)], 2);
  EXPECT_EQ(result.starts[Bucket(1.5)], 3) << "the successor of the first, 0.4 s + 1 s";
}

TEST(CapacityReplayTest, GoesOnWithArrivalsToTheHorizon) {
  ReplayState state = State(4);
  const ReplayResult result = ReplayCapacity(state);
  // Four places, each free every second.
  EXPECT_NEAR(result.starts[kForecastBuckets] - result.starts[0], 120, 4);
}

TEST(CapacityReplayTest, BeyondTheLimitTheRateGoesOn) {
  ReplayState state = State(256);
  state.arriving[0].output_tokens = 50;  // 512 a second, 15,360 in all
  const ReplayResult result = ReplayCapacity(state);
  EXPECT_NEAR(result.starts[kForecastBuckets] - result.starts[0], 15360, 800);
}

TEST(CapacityReplayTest, TheRateGoesOnAlsoWhenTheLimitComesWithinTheFirstBucket) {
  ReplayState state = State(256);
  state.step_time.step_s = 1e-6;
  state.arriving[0].output_tokens = 50;  // 5.12 million a second: a replay of 0.4 ms
  const ReplayResult result = ReplayCapacity(state);
  EXPECT_NEAR(result.starts[1] - result.starts[0], 1.28e6, 0.2e6);
  EXPECT_NEAR(result.starts[kForecastBuckets] - result.starts[0], 1.536e8, 0.2e8);
}

TEST(CapacityReplayTest, MemoryLimitsHowManyRun) {
  ReplayState state = State(100);
  state.free_blocks = 20;  // for ten
  const ReplayResult result = ReplayCapacity(state);
  EXPECT_EQ(result.starts[0], 100);
  EXPECT_NEAR(result.blocks[kForecastBuckets] - result.blocks[0], 20 * 30, 20);
}

TEST(CapacityReplayTest, PromptsTakeTheirTime) {
  ReplayState state = State(2, /*max_batch_tokens=*/101);  // chunks of 100
  state.step_time.prefill_token_s = 0.001;
  state.running = {{.output_tokens = 10, .prefill_tokens = 1000}, {.output_tokens = 10, .prefill_tokens = 1000}};
  const ReplayResult result = ReplayCapacity(state);
  // Ten steps for each prompt, 2 s for all their tokens. The first decodes its ten tokens beside the second's prompt.
  EXPECT_EQ(result.starts[Bucket(2)], 0);
  EXPECT_EQ(result.starts[Bucket(2.25)], 1);
  EXPECT_EQ(result.starts[Bucket(2.5)], 2);
}

TEST(CapacityReplayTest, StepsHaveRoomForSoManyPromptTokens) {
  ReplayState state = State(20, /*max_batch_tokens=*/100);
  state.step_time.prefill_token_s = 0.0001;
  // Each has ended long before the next prompt is computed: the steps are full of prompt.
  state.arriving = {{.output_tokens = 1, .prefill_tokens = 1000}};
  const ReplayResult result = ReplayCapacity(state);
  EXPECT_EQ(result.prompt_tokens[0], 0);
  EXPECT_NEAR(result.prompt_tokens[Bucket(10)], 10 * 100 / 0.02, 500) << "100 in a step of 20 ms";
  EXPECT_NEAR(result.prompt_tokens[kForecastBuckets], 30 * 100 / 0.02, 1500);
  // Those that decode take their row of each step.
  state.running.assign(19, {.output_tokens = 1e6});
  EXPECT_NEAR(ReplayCapacity(state).prompt_tokens[Bucket(10)], 10 * 81 / 0.0181, 500);
}

TEST(CapacityReplayTest, APlaceIsTakenWhenThePromptsBeforeNeedNoWholeStep) {
  ReplayState state = State(50, /*max_batch_tokens=*/100);
  state.waiting.assign(20, {.output_tokens = 100, .prefill_tokens = 500});
  state.arriving = {{.output_tokens = 100, .prefill_tokens = 500}};
  // They start one every five steps, and 20 run side by side; all at once they would be 50, and so much slower.
  state.step_time.sequence_s = 0.001;
  const ReplayResult result = ReplayCapacity(state);
  EXPECT_EQ(result.starts[0], 50);
  EXPECT_EQ(result.starts[Bucket(1.5)], 50);
  EXPECT_NEAR(result.starts[Bucket(5)] - 50, (5.0 - 105 * 0.021) / (5 * 0.031), 6);
}

TEST(CapacityReplayTest, StepsGrowWithWhatIsInThem) {
  ReplayState state = State(10);
  state.step_time = {.step_s = 0.01, .sequence_s = 0.001, .context_token_s = 1e-6};
  state.running.assign(10, {.output_tokens = 100, .context_tokens = 1000});
  const ReplayResult result = ReplayCapacity(state);
  // 100 steps of 10 ms + 10 * 1 ms + about 10,500 tokens * 1 us = 30.5 ms.
  EXPECT_EQ(result.starts[Bucket(3)], 0);
  EXPECT_EQ(result.starts[Bucket(3.25)], 10);
}

TEST(CapacityReplayTest, IsCheap) {
  ReplayState state = State(256, 2048);
  for (int i = 0; i < 256; ++i) state.running.push_back({.output_tokens = 1.0 + i, .context_tokens = 1000});
  for (int i = 0; i < 512; ++i) state.waiting.push_back({.output_tokens = 1.0 + i, .prefill_tokens = 500});
  const std::chrono::nanoseconds start = ThreadCpuTime();
  constexpr int kRuns = 20;
  float sum = 0;
  for (int i = 0; i < kRuns; ++i) sum += ReplayCapacity(state).starts[kForecastBuckets];
  const std::chrono::duration<double, std::milli> took = ThreadCpuTime() - start;
  EXPECT_GT(sum, 0);
  std::printf("%.3f ms a replay\n", took.count() / kRuns);
  EXPECT_LT(took.count() / kRuns, 10) << "milliseconds, far above what it needs";
}

}  // namespace
}  // namespace hadal::admission
