// SPDX-License-Identifier: Apache-2.0
#include "server/admission/memory_portfolio.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

constexpr int32_t kBlockTokens = 16;
constexpr int32_t kMost = 16384;

int32_t Thinking(std::mt19937& random) {
  return std::clamp(static_cast<int32_t>(std::lognormal_distribution<double>(7.6, 1)(random)), 1, kMost);
}

// Of answers that have these lengths equally often.
LengthCurve CurveOf(const std::vector<int32_t>& lengths) {
  LengthHistogram histogram;
  for (int i = 0; i < 1000; ++i) histogram.Record(lengths[i % lengths.size()]);
  return histogram.Curve();
}

LengthCurve ThinkingCurve() {
  std::mt19937 random(1);
  LengthHistogram histogram;
  for (int i = 0; i < 4000; ++i) histogram.Record(Thinking(random));
  return histogram.Curve();
}

GrowingAnswer NewAnswer(const LengthCurve& curve, double blocks = 20, int32_t most_left = kMost) {
  return {.blocks = blocks, .most_left = most_left, .lengths = &curve};
}

TEST(MemoryPortfolioTest, NothingNeedsNothing) {
  MemoryPortfolio portfolio(kBlockTokens, 2);
  portfolio.Finish();
  EXPECT_EQ(portfolio.Need(), 0);
}

TEST(MemoryPortfolioTest, AnAnswerOfKnownLengthNeedsAllOfIt) {
  const LengthCurve curve = CurveOf({100});
  MemoryPortfolio portfolio(kBlockTokens, 2);
  GrowingAnswer fixed = NewAnswer(curve, 20, 1600);
  fixed.least_left = 1600;
  EXPECT_DOUBLE_EQ(portfolio.Increase(fixed), 120) << "20 blocks and 1600 tokens, whatever others have";
  portfolio.Add(fixed);
  portfolio.Finish();
  EXPECT_DOUBLE_EQ(portfolio.Need(), 120);
  EXPECT_DOUBLE_EQ(portfolio.Share(fixed), 120);
}

TEST(MemoryPortfolioTest, WhatEndsBeforeOthersHaveGrownIsCountedOnce) {
  const LengthCurve curve = CurveOf({100});
  MemoryPortfolio portfolio(kBlockTokens, 2);
  GrowingAnswer large = NewAnswer(curve, 100, 1), small = NewAnswer(curve, 0, 1600);
  small.least_left = 1600;
  portfolio.Add(large);
  portfolio.Finish();
  EXPECT_NEAR(portfolio.Increase(small), 0, 1) << "once it has grown to 100 blocks, the large one has long ended";
  portfolio.Add(small);
  portfolio.Finish();
  EXPECT_NEAR(portfolio.Need(), 100, 1);
}

TEST(MemoryPortfolioTest, SharesAddUpToTheNeed) {
  const LengthCurve curve = ThinkingCurve();
  MemoryPortfolio portfolio(kBlockTokens, 2);
  std::mt19937 random(2);
  std::vector<GrowingAnswer> answers;
  for (int i = 0; i < 40; ++i) {
    GrowingAnswer& answer = answers.emplace_back(NewAnswer(curve));
    answer.produced = Thinking(random) / 2;
    answer.blocks += answer.produced / kBlockTokens;
    answer.most_left -= answer.produced;
    portfolio.Add(answer);
  }
  portfolio.Finish();
  double sum = 0;
  for (const GrowingAnswer& answer : answers) sum += portfolio.Share(answer);
  EXPECT_NEAR(sum, portfolio.Need(), 1e-6 * sum);
}

TEST(MemoryPortfolioTest, ManyNeedLessForEachThanOneAlone) {
  const LengthCurve curve = ThinkingCurve();
  MemoryPortfolio portfolio(kBlockTokens, 2);
  const double alone = portfolio.Increase(NewAnswer(curve));
  for (int i = 0; i < 100; ++i) portfolio.Add(NewAnswer(curve));
  portfolio.Finish();
  EXPECT_LT(portfolio.Need() / 100, 0.6 * alone);
  EXPECT_GT(portfolio.Increase(NewAnswer(curve)), 0.2 * alone) << "yet they are not free";
}

// The answers that run beside each other at one time, whose lengths nobody knows but whose spread is learned: how often
// they come to need more than was foreseen, if none follow them.
TEST(MemoryPortfolioTest, TheNeedIsExceededAboutAsOftenAsItsDeviationsSay) {
  const LengthCurve curve = ThinkingCurve();
  std::mt19937 random(3);
  for (const int count : {10, 50}) {
    int exceeded = 0;
    constexpr int kTrials = 400;
    for (int trial = 0; trial < kTrials; ++trial) {
      MemoryPortfolio portfolio(kBlockTokens, 2);
      std::vector<int32_t> produced, length;
      while (static_cast<int>(length.size()) < count) {
        const int32_t tokens = Thinking(random);
        const auto so_far = static_cast<int32_t>(random() % kMost);
        if (so_far >= tokens) continue;  // it is not among those that run at a random time
        length.push_back(tokens);
        produced.push_back(so_far);
        GrowingAnswer answer = NewAnswer(curve, so_far / kBlockTokens, kMost - so_far);
        answer.produced = so_far;
        portfolio.Add(answer);
      }
      portfolio.Finish();
      double most = 0;
      for (int32_t ahead = 0; ahead < kMost; ahead += kBlockTokens) {
        double held = 0;
        for (int i = 0; i < count; ++i) {
          if (produced[i] + ahead < length[i]) held += (produced[i] + ahead) / kBlockTokens;
        }
        most = std::max(most, held);
      }
      exceeded += most > portfolio.Need();
    }
    EXPECT_LE(exceeded, kTrials / 10) << count << " answers";
    EXPECT_GE(exceeded, 1) << count << " answers: it reserves more than is asked for";
  }
}

}  // namespace
}  // namespace hadal::admission
