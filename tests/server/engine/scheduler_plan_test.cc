// SPDX-License-Identifier: Apache-2.0
// Which prompts get the tokens of a step while more urgent ones could use all of them.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::Priority;

constexpr absl::Duration kRound = absl::Milliseconds(50);
constexpr int32_t kStepTokens = 192;

// One prompt that starts on an empty server, and from then on so many of another class that each fills a step.
class PromptBesideMany {
 public:
  PromptBesideMany(int32_t prompt, Priority priority, Priority others) : prompt_(prompt), others_(others) {
    stream_ = f_.Submit(LoopFixture::Prompt(prompt, 77), 1, priority);
    arrived_ = f_.admission.clock.Now();
    f_.Round();
    got_.Read(*stream_);
    EXPECT_TRUE(got_.started);
    EXPECT_FALSE(got_.closed);
  }
  ~PromptBesideMany() {
    stream_->Cancel();
    for (const auto& stream : streams_) stream->Cancel();
    f_.RunUntilIdle();
  }

  // Until the prompt has its token, or that time has passed; returns how long it took.
  absl::Duration RunFor(absl::Duration most) {
    while (!got_.closed && f_.admission.clock.Now() < arrived_ + most) {
      while (f_.admission.controller->GetLoad().waiting_by_class[static_cast<size_t>(others_)] < 8) {
        streams_.push_back(f_.Submit(LoopFixture::Prompt(kStepTokens, next_++), 1, others_));
      }
      f_.Round();
      f_.admission.clock.Advance(kRound);
      ++rounds_;
      std::erase_if(streams_, [&](const auto& stream) {
        const bool closed = stream->Read().closed;
        finished_ += closed;
        return closed;
      });
      got_.Read(*stream_);
    }
    if (got_.closed) EXPECT_EQ(got_.tokens[0], f_.Expected(LoopFixture::Prompt(prompt_, 77), 1));
    return f_.admission.clock.Now() - arrived_;
  }
  bool closed() const { return got_.closed; }
  // Tokens of the steps that the others have not had.
  int taken() const { return (rounds_ - finished_) * kStepTokens; }
  int rounds() const { return rounds_; }

 private:
  const int32_t prompt_;
  const Priority others_;
  LoopFixture f_{{.blocks = 100000, .max_batch_size = 16, .max_batch_tokens = kStepTokens, .prefix_cache = false}};
  std::shared_ptr<request::TokenStream> stream_;
  absl::Time arrived_;
  Received got_;
  std::vector<std::shared_ptr<request::TokenStream>> streams_;
  int next_ = 100;
  int rounds_ = 0, finished_ = 0;
};

TEST(SchedulerPlanTest, APromptThatStartedInItsTurnIsNotPassedForEver) {
  PromptBesideMany low(2 * kStepTokens, Priority::kLow, Priority::kHigh);
  const absl::Duration took = low.RunFor(absl::Seconds(60));
  EXPECT_GE(took, absl::Seconds(16)) << "high ones go first for two steps of 8 s";
  EXPECT_LE(took, absl::Seconds(24) + 4 * kRound) << "then its tokens fall due within another";
  EXPECT_LE(low.taken(), 4 * kStepTokens) << "what it needed, and what is in progress";
}

TEST(SchedulerPlanTest, ALateNormalPromptPassesHighOnesAfterOneStep) {
  PromptBesideMany normal(2 * kStepTokens, Priority::kNormal, Priority::kHigh);
  EXPECT_LE(normal.RunFor(absl::Seconds(60)), absl::Seconds(16) + 4 * kRound);
}

// All of it falls due long before the share suffices.
TEST(SchedulerPlanTest, ALatePromptTakesNoMoreThanTheShareOfAgedOnes) {
  PromptBesideMany beside_high(100 * kStepTokens, Priority::kLow, Priority::kHigh);
  beside_high.RunFor(absl::Seconds(60));
  EXPECT_FALSE(beside_high.closed());
  EXPECT_LE(beside_high.taken(), beside_high.rounds() * kStepTokens / 32 + 3 * kStepTokens);
  PromptBesideMany beside_normal(100 * kStepTokens, Priority::kLow, Priority::kNormal);
  beside_normal.RunFor(absl::Seconds(60));
  EXPECT_LE(beside_normal.taken(), beside_normal.rounds() * kStepTokens / 10 + 3 * kStepTokens);
  EXPECT_GE(beside_normal.taken(), beside_high.taken() * 2);
}

TEST(SchedulerPlanTest, AgeIsNoReasonToPassTheOwnClassOrForABatchToPassOthers) {
  PromptBesideMany batch(2 * kStepTokens, Priority::kBatch, Priority::kNormal);
  batch.RunFor(absl::Seconds(60));
  EXPECT_FALSE(batch.closed());
  PromptBesideMany first(2 * kStepTokens, Priority::kLow, Priority::kLow);
  EXPECT_LE(first.RunFor(absl::Seconds(1)), 2 * kRound) << "in its class it is the first anyway";
}

}  // namespace
}  // namespace hadal::engine
