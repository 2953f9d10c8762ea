// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_token_budget.h"

#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;

constexpr admission::StepTime kTime = {.step_s = .001, .sequence_s = .0001, .context_token_s = .000001};

EngineOptions Options(absl::Duration target) {
  EngineOptions options;
  options.max_batch_tokens = 2048;
  options.step_time_target = target;
  return options;
}

// A budget that has seen many steps of 500 prompt tokens, each for 0.05 ms, beside 100 decoding sequences.
StepTokenBudget Learned(const EngineOptions& options) {
  StepTokenBudget budget(options);
  BatchPlan plan;
  plan.decode_entries = 100;
  plan.decode_context_tokens = 9000;
  plan.prefill_tokens = 500;
  for (int i = 0; i < 100; ++i) budget.Record(plan, kTime.Seconds(100, 9000, 0) + 500 * .00005, kTime);
  return budget;
}

TEST(StepTokenBudgetTest, PromptsGetTheTimeThatDecodingLeaves) {
  // 1 + 100 * 0.1 + 9 ms decode; 30 ms are 600 prompt tokens.
  const EngineOptions options = Options(absl::Milliseconds(50));
  EXPECT_NEAR(Learned(options).Limit(100, 9000), 100 + 600, 1);
}

TEST(StepTokenBudgetTest, PromptsGetAsLongAsDecodingWhereThatTakesMoreThanHalf) {
  // 1 + 20 + 9 ms decode, so that prompts get 30 ms of 50, and of any shorter target.
  for (const absl::Duration target : {absl::Milliseconds(50), absl::Milliseconds(1)}) {
    const EngineOptions options = Options(target);
    EXPECT_NEAR(Learned(options).Limit(200, 9000), 200 + 600, 1);
  }
}

TEST(StepTokenBudgetTest, ThereIsAlwaysRoomForAFewPromptTokens) {
  const EngineOptions options = Options(absl::Milliseconds(50));
  StepTokenBudget budget(options);
  BatchPlan plan;
  plan.prefill_tokens = 16;
  budget.Record(plan, 16, {});  // a second each
  EXPECT_EQ(budget.Limit(7, 0), 7 + 16);
}

TEST(StepTokenBudgetTest, IsTheOptionsLimitWhenThatIsLessOrNobodyWouldWait) {
  EngineOptions options = Options(absl::Milliseconds(50));
  EXPECT_EQ(StepTokenBudget(options).Limit(100, 9000), 2048) << "what a prompt token costs is not known yet";
  EXPECT_EQ(Learned(options).Limit(0, 0), 2048) << "nothing decodes";
  options.max_batch_tokens = 300;
  EXPECT_EQ(Learned(options).Limit(100, 9000), 300);
  options = Options(absl::ZeroDuration());
  EXPECT_EQ(Learned(options).Limit(100, 9000), 2048) << "off";
}

TEST(StepTokenBudgetTest, OneStepThatHungMovesItLittle) {
  const EngineOptions options = Options(absl::Milliseconds(50));
  StepTokenBudget budget = Learned(options);
  BatchPlan plan;
  plan.prefill_tokens = 500;
  budget.Record(plan, 100, kTime);
  EXPECT_GT(budget.Limit(100, 9000), 100 + 600 / 1.3);
}

// The longest step of those that hold prompts beside a sequence that decodes, once the engine knows what prompt
// tokens cost. The same tokens come out.
absl::Duration LongestStep(absl::Duration target) {
  LoopFixture f({.max_batch_size = 8, .max_batch_tokens = 512, .step_time_target = target});
  absl::Duration longest;
  f.model.on_wait = [&] {
    const absl::Duration step = absl::Milliseconds(1) + absl::Microseconds(100) * f.model.shapes().back().tokens;
    if (f.model.shapes().size() > 20) longest = std::max(longest, step);
    f.admission.clock.Advance(step);
    return absl::OkStatus();
  };
  auto decoding = f.Submit(LoopFixture::Prompt(4), 200);
  for (int i = 0; i < 3; ++i) f.Round();
  std::vector<std::shared_ptr<request::TokenStream>> prompts;
  for (int i = 0; i < 40; ++i) {
    prompts.push_back(f.Submit(LoopFixture::Prompt(90, i + 1), 1));
    f.Round();
  }
  f.RunUntilIdle();
  Received got;
  got.Read(*decoding);
  EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(4), 200));
  for (int i = 0; i < 40; ++i) {
    Received one;
    one.Read(*prompts[i]);
    EXPECT_EQ(one.tokens[0], f.Expected(LoopFixture::Prompt(90, i + 1), 1));
  }
  f.ExpectEmpty();
  return longest;
}

TEST(StepTokenBudgetTest, StepsOfALoopStayWithinTheTarget) {
  EXPECT_LE(LongestStep(absl::Milliseconds(6)), absl::Milliseconds(7));
  EXPECT_GE(LongestStep(absl::ZeroDuration()), absl::Milliseconds(9));
}

}  // namespace
}  // namespace hadal::engine
