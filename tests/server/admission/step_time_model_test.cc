// SPDX-License-Identifier: Apache-2.0
#include "server/admission/step_time_model.h"

#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

const StepTime kTrue = {.step_s = 0.004, .sequence_s = 2e-5, .context_token_s = 3e-8, .prefill_token_s = 5e-6};

StepSample Sample(std::mt19937_64& random, double noise = 0) {
  std::uniform_real_distribution<double> unit(0, 1);
  StepSample sample;
  sample.sequences = std::floor(1 + 255 * unit(random));
  sample.context_tokens = sample.sequences * (100 + 2000 * unit(random));
  sample.prefill_tokens = unit(random) < 0.5 ? 0 : std::floor(2048 * unit(random));
  sample.seconds = kTrue.Seconds(sample.sequences, sample.context_tokens, sample.prefill_tokens) *
                   (1 + noise * (2 * unit(random) - 1));
  return sample;
}

TEST(StepTimeModelTest, KnowsNothingBeforeTheFirstStep) { EXPECT_FALSE(StepTimeModel().Get().known()); }

TEST(StepTimeModelTest, TheFirstStepIsTheFirstGuess) {
  StepTimeModel model;
  model.Record({.sequences = 1, .context_tokens = 10, .prefill_tokens = 10, .seconds = 0.02});
  EXPECT_NEAR(model.Get().Seconds(1, 10, 10), 0.02, 1e-4);
}

TEST(StepTimeModelTest, TellsThePartsApart) {
  std::mt19937_64 random(1);
  StepTimeModel model;
  for (int i = 0; i < 500; ++i) model.Record(Sample(random));
  const StepTime fit = model.Get();
  EXPECT_NEAR(fit.step_s, kTrue.step_s, 0.05 * kTrue.step_s);
  EXPECT_NEAR(fit.sequence_s, kTrue.sequence_s, 0.05 * kTrue.sequence_s);
  EXPECT_NEAR(fit.context_token_s, kTrue.context_token_s, 0.05 * kTrue.context_token_s);
  EXPECT_NEAR(fit.prefill_token_s, kTrue.prefill_token_s, 0.05 * kTrue.prefill_token_s);
}

// Sequences and their context grow together while a batch fills, and prompts take what they leave of a step: what each
// part costs cannot be told from noise, what a step costs can.
TEST(StepTimeModelTest, IsRightAboutStepsWhosePartsGrowTogether) {
  for (int seed = 1; seed <= 8; ++seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> noise(-1, 1);
    StepTimeModel model;
    double context_tokens = 0;
    for (int i = 0; i < 60; ++i) {
      context_tokens += 2000 * (1 + 0.3 * noise(random));
      StepSample sample = {.sequences = 3.0 + 2 * i,
                           .context_tokens = context_tokens,
                           .prefill_tokens = 2048.0 - 2 * i - 100 * (1 + noise(random))};
      const double seconds = 22e-6 * (sample.prefill_tokens + sample.sequences);
      sample.seconds = seconds * (1 + 0.06 * noise(random));
      model.Record(sample);
      if (i < 10) continue;
      EXPECT_NEAR(model.Get().Seconds(sample.sequences, sample.context_tokens, sample.prefill_tokens), seconds,
                  0.12 * seconds)
          << seed << " " << i;
    }
  }
}

TEST(StepTimeModelTest, ForeseesANoisyStepOnAverage) {
  std::mt19937_64 random(2);
  StepTimeModel model;
  for (int i = 0; i < 2000; ++i) model.Record(Sample(random, 0.3));
  for (int i = 0; i < 100; ++i) {
    const StepSample sample = Sample(random);
    EXPECT_NEAR(model.Get().Seconds(sample.sequences, sample.context_tokens, sample.prefill_tokens), sample.seconds,
                0.12 * sample.seconds);
  }
}

TEST(StepTimeModelTest, FollowsAChange) {
  std::mt19937_64 random(3);
  StepTimeModel model;
  for (int i = 0; i < 3000; ++i) model.Record(Sample(random));
  StepSample sample;
  for (int i = 0; i < 3000; ++i) {
    sample = Sample(random);
    sample.seconds *= 2;
    model.Record(sample);
  }
  EXPECT_NEAR(model.Get().Seconds(sample.sequences, sample.context_tokens, sample.prefill_tokens), sample.seconds,
              0.15 * sample.seconds);
}

TEST(StepTimeModelTest, AHiccupIsNotTheRule) {
  std::mt19937_64 random(4);
  StepTimeModel model;
  for (int i = 0; i < 500; ++i) model.Record(Sample(random));
  StepSample hiccup = Sample(random);
  const double normal = hiccup.seconds;
  hiccup.seconds = 10;
  model.Record(hiccup);
  EXPECT_LT(model.Get().Seconds(hiccup.sequences, hiccup.context_tokens, hiccup.prefill_tokens), 1.2 * normal);
}

// A day of steps that are all alike leaves what was learnt before as it was.
TEST(StepTimeModelTest, StaysSoundWithoutVariety) {
  std::mt19937_64 random(5);
  StepTimeModel model;
  for (int i = 0; i < 500; ++i) model.Record(Sample(random));
  const StepSample same = {.sequences = 16, .context_tokens = 16000, .seconds = kTrue.Seconds(16, 16000, 0)};
  for (int i = 0; i < 200000; ++i) model.Record(same);
  EXPECT_NEAR(model.Get().Seconds(16, 16000, 0), same.seconds, 1e-3 * same.seconds);
  const double large = kTrue.Seconds(256, 256000, 1024);
  EXPECT_NEAR(model.Get().Seconds(256, 256000, 1024), large, 0.25 * large);
}

}  // namespace
}  // namespace hadal::admission
