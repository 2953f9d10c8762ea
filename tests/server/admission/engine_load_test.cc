// SPDX-License-Identifier: Apache-2.0
#include "server/admission/engine_load.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/cpu_time.h"

namespace hadal::admission {
namespace {

using hadal::testing::ThreadCpuTime;
using request::Priority;

TEST(EngineLoadTest, ReadsWhatWasPublished) {
  EngineLoad load;
  std::vector<RunningSequence> read = {{}};
  load.Read(&read);
  EXPECT_TRUE(read.empty());
  load.SetStep({256, 2048, {0.01, 1e-5, 1e-8, 1e-6}});
  EXPECT_EQ(load.step().max_batch_size, 256);
  EXPECT_EQ(load.step().max_batch_tokens, 2048);
  EXPECT_EQ(load.step().time.Seconds(1, 1, 1), 0.01 + 1e-5 + 1e-8 + 1e-6);
  load.BeginSequences();
  load.AddSequence({Priority::kBatch, 7, 1 << 20, 12345, 1 << 30, 99});
  load.AddSequence({Priority::kHigh, (1 << 29) + 1, 1, 2, 3, 4, true});
  load.AddSequence({.max_tokens = 5, .fixed_length = true});
  load.EndSequences();
  EXPECT_EQ(load.sequences(), 3);
  load.Read(&read);
  ASSERT_EQ(read.size(), 3u);
  EXPECT_EQ(read[0].priority, Priority::kBatch);
  EXPECT_EQ(read[0].blocks, 7);
  EXPECT_EQ(read[0].context_tokens, 1 << 20);
  EXPECT_EQ(read[0].produced, 12345);
  EXPECT_EQ(read[0].max_tokens, (1 << 21) - 1) << "no limit, as far as a forecast is concerned";
  EXPECT_EQ(read[0].prefill_tokens, 99);
  EXPECT_EQ(read[1].priority, Priority::kHigh);
  EXPECT_EQ(read[1].blocks, (1 << 29) + 1);
  EXPECT_EQ(read[1].max_tokens, 3);
  EXPECT_TRUE(read[1].thinking);
  EXPECT_FALSE(read[0].thinking);
  EXPECT_TRUE(read[2].fixed_length);
  EXPECT_FALSE(read[1].fixed_length);
}

TEST(EngineLoadTest, KeepsToItsSize) {
  EngineLoad load;
  load.BeginSequences();
  for (int i = 0; i < 3000; ++i) load.AddSequence({});
  load.EndSequences();
  EXPECT_EQ(load.sequences(), 3000);
  std::vector<RunningSequence> read;
  load.Read(&read);
  EXPECT_EQ(read.size(), static_cast<size_t>(EngineLoad::kMaxSequences));
}

TEST(EngineLoadTest, ReadersNeverSeeMoreThanTwoStepsAtOnce) {
  EngineLoad load;
  const auto publish = [&](int step) {
    load.BeginSequences();
    for (int i = 0; i < 64; ++i) load.AddSequence({.produced = step, .max_tokens = 1000});
    load.EndSequences();
  };
  publish(0);
  std::atomic<bool> stop{false};
  std::thread engine([&] {
    for (int step = 1; !stop; step = (step + 1) % 1000000) publish(step);
  });
  std::vector<RunningSequence> read;
  for (int i = 0; i < 20000; ++i) {
    load.Read(&read);
    for (const RunningSequence& sequence : read) ASSERT_EQ(sequence.max_tokens, 1000);
    ASSERT_EQ(read.size(), 64u);
  }
  stop = true;
  engine.join();
}

TEST(EngineLoadTest, PublishingIsCheap) {
  EngineLoad load;
  constexpr int kRuns = 1000;
  const std::chrono::nanoseconds start = ThreadCpuTime();
  for (int run = 0; run < kRuns; ++run) {
    load.BeginSequences();
    for (int i = 0; i < 256; ++i) load.AddSequence({.blocks = i, .context_tokens = run, .produced = i});
    load.EndSequences();
  }
  const std::chrono::duration<double, std::micro> took = ThreadCpuTime() - start;
  std::printf("%.2f us to publish 256 sequences\n", took.count() / kRuns);
  EXPECT_LT(took.count() / kRuns, 100) << "far above what it needs";
}

}  // namespace
}  // namespace hadal::admission
