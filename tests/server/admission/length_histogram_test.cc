// SPDX-License-Identifier: Apache-2.0
#include "server/admission/length_histogram.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

// Answers with reasoning: median 2,000, cut at 16,000.
constexpr int32_t kMost = 16000;
double Thinking(std::mt19937& random) {
  return std::min<double>(std::lognormal_distribution<double>(7.6, 1)(random), kMost);
}

// A server that is always full: its answers gain a token a step, and each that ends or is cancelled is followed by a
// new one.
class FullServer {
 public:
  explicit FullServer(std::function<double(std::mt19937&)> draw) : draw_(std::move(draw)) {
    for (Answer& answer : answers_) {
      Renew(answer);
      answer.tokens = -static_cast<int32_t>(kStart * uniform_(random_));
    }
  }

  void Run(int steps) {
    for (int step = 0; step < steps; ++step) {
      for (Answer& answer : answers_) {
        if (++answer.tokens <= 0) continue;
        learned.RecordProgress(answer.tokens - 1, answer.tokens);
        if (answer.tokens >= answer.length) {
          learned.RecordEnd(answer.tokens, answer.tokens);
          of_ended.Record(answer.tokens);
          Renew(answer);
        } else if (cancelled_per_step > 0 && uniform_(random_) < cancelled_per_step) {
          Renew(answer);
        }
      }
    }
  }
  // What the running answers need of their next `within` tokens on average: in truth, and at equally spread quantiles
  // of what was learned.
  double MeanLeft(int32_t within) const {
    double sum = 0;
    for (const Answer& answer : answers_) sum += std::min(answer.length - answer.tokens, within);
    return sum / static_cast<double>(answers_.size());
  }
  double MeanForeseen(const LengthHistogram& histogram, int32_t within) const {
    const LengthCurve curve = histogram.Curve();
    double sum = 0;
    for (size_t i = 0; i < answers_.size(); ++i) {
      const double q = std::fmod(0.5 + 0.618034 * static_cast<double>(i), 1);
      const double left = curve.RemainingQuantile(answers_[i].tokens, q);
      sum += std::min<double>({left, static_cast<double>(kMost - answers_[i].tokens), static_cast<double>(within)});
    }
    return sum / static_cast<double>(answers_.size());
  }

  LengthHistogram learned, of_ended;
  double cancelled_per_step = 0;

 private:
  static constexpr int kStart = 1000;  // steps in which the first ones begin

  struct Answer {
    int32_t length = 0, tokens = 0;
  };
  void Renew(Answer& answer) { answer = {std::max(1, static_cast<int32_t>(draw_(random_))), 0}; }

  std::function<double(std::mt19937&)> draw_;
  std::mt19937 random_{1};
  std::uniform_real_distribution<double> uniform_;
  std::vector<Answer> answers_{std::vector<Answer>(1000)};
};

TEST(LengthHistogramTest, KnowsNothingBeforeEnoughSamples) {
  LengthHistogram histogram;
  for (int i = 0; i < LengthHistogram::kMinSamples - 1; ++i) histogram.Record(100);
  EXPECT_EQ(histogram.Curve().Quantile(0.7), -1);
  EXPECT_EQ(PredictOutputTokens(histogram.Curve(), 0.7, 1001), 501) << "cold start: half of max_tokens, rounded up";
  EXPECT_EQ(PredictOutputTokens(histogram.Curve(), 0.7, 131072), kColdStartTokens) << "but no more than a usual answer";
  histogram.Record(100);
  EXPECT_GE(histogram.Curve().Quantile(0.7), 100);
}

TEST(LengthHistogramTest, QuantileIsAnUpperBoundWithinABucket) {
  LengthHistogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.Record(i);
  const int32_t q = histogram.Curve().Quantile(0.5);
  EXPECT_GE(q, 500);
  EXPECT_LE(q, 760) << "a bucket is at most 19 % wide; late records weigh more";
}

TEST(OutputLengthsTest, ThinkingAnswersAreCountedApart) {
  using request::Priority;
  OutputLengths lengths;
  request::Request request;
  for (int i = 0; i < 20; ++i) lengths.RecordEnd(request, 100, 0);
  EXPECT_LT(lengths.For(Priority::kNormal, true).Curve().Quantile(0.7), 0) << "nothing is known of the others";
  request.priority = Priority::kLow;
  request.thinking = true;
  for (int i = 0; i < 20; ++i) lengths.RecordEnd(request, 8000, 0);
  EXPECT_LE(lengths.For(Priority::kNormal, false).Curve().Quantile(0.7), 128);
  EXPECT_LE(lengths.For(Priority::kHigh, false).Curve().Quantile(0.7), 128) << "as in other classes";
  EXPECT_GE(lengths.For(Priority::kHigh, true).Curve().Quantile(0.7), 8000);
  EXPECT_GE(lengths.OfMode(true).Curve().RemainingQuantile(0, 0.5), 6000);
  EXPECT_GE(lengths.all().Curve().Quantile(0.7), 8000) << "half of them";
  EXPECT_LE(lengths.all().Curve().Quantile(0.3), 128);
}

TEST(OutputLengthsTest, WhatCallersHaveFixedSaysNothingOfOthers) {
  OutputLengths lengths;
  request::Request fixed;
  fixed.max_tokens = fixed.least_tokens = 1000;
  for (int i = 0; i < 20; ++i) {
    lengths.RecordProgress(fixed, 0, 500);
    lengths.RecordEnd(fixed, 1000, 500);
  }
  EXPECT_FALSE(lengths.OfMode(false).known());
  EXPECT_FALSE(lengths.For(fixed.priority, false).known());
  EXPECT_GE(lengths.all().Curve().Quantile(0.5), 1000) << "it is work all the same";
}

TEST(LengthHistogramTest, PredictionNeverExceedsMaxTokens) {
  LengthHistogram histogram;
  for (int i = 0; i < 100; ++i) histogram.Record(4000);
  EXPECT_EQ(PredictOutputTokens(histogram.Curve(), 0.7, 50), 50);
  EXPECT_EQ(PredictOutputTokens(histogram.Curve(), 0.7, 0), 0);
}

TEST(LengthHistogramTest, FollowsAChangeOfTraffic) {
  LengthHistogram histogram;
  for (int i = 0; i < 5000; ++i) histogram.Record(2000);
  for (int i = 0; i < 3000; ++i) histogram.Record(20);
  EXPECT_LE(histogram.Curve().Quantile(0.7), 24);
}

// Before half of the answers could have ended, those that have are the short ones.
TEST(LengthHistogramTest, RunningAnswersCountOnAColdStart) {
  FullServer server(Thinking);
  server.Run(3500);
  const double left = server.MeanLeft(1000);
  EXPECT_NEAR(server.MeanForeseen(server.learned, 1000), left, 0.05 * left);
  EXPECT_LT(server.MeanForeseen(server.of_ended, 1000), 0.8 * left) << "the ended ones alone would not do";
  EXPECT_NEAR(server.learned.Curve().Quantile(0.4), 1552, 250);
  EXPECT_LT(server.of_ended.Curve().Quantile(0.4), 1250);
}

TEST(LengthHistogramTest, LearnsTheWholeDistribution) {
  FullServer server(Thinking);
  server.Run(60000);
  const double left = server.MeanLeft(kMost);
  EXPECT_NEAR(server.MeanForeseen(server.learned, kMost), left, 0.1 * left);
  // A bucket is at most 19 % wide, and its upper bound is returned.
  for (const auto& [q, tokens] : {std::pair(0.1, 555), {0.5, 1998}, {0.7, 3375}, {0.9, 7197}}) {
    EXPECT_GE(server.learned.Curve().Quantile(q), 0.92 * tokens) << q;
    EXPECT_LE(server.learned.Curve().Quantile(q), 1.3 * tokens) << q;
  }
}

// Four in five long answers are cancelled before they end.
TEST(LengthHistogramTest, CancelledAnswersCountAsFarAsTheyCame) {
  FullServer server(Thinking);
  server.cancelled_per_step = 1.0 / 2000;
  server.Run(40000);
  EXPECT_NEAR(server.learned.Curve().Quantile(0.5), 2048, 300);
  EXPECT_LT(server.of_ended.Curve().Quantile(0.5), 1300) << "the ended ones alone would not do";
  const double left = server.MeanLeft(kMost);
  EXPECT_NEAR(server.MeanForeseen(server.learned, kMost), left, 0.2 * left);
}

// In both directions, at most some thousand answers later.
TEST(LengthHistogramTest, FollowsRunningAnswersThatBecomeLonger) {
  double length = 200;
  FullServer server([&length](std::mt19937&) { return length; });
  server.Run(20000);
  EXPECT_LE(server.learned.Curve().Quantile(0.7), 215);
  length = 3000;
  server.Run(200 + 1000);
  EXPECT_GE(server.learned.Curve().RemainingQuantile(300, 0.5), 300) << "none of the long ones has ended yet";
  server.Run(3 * 3000);
  EXPECT_GE(server.learned.Curve().Quantile(0.7), 3000);
  EXPECT_LE(server.learned.Curve().Quantile(0.7), 3500);
  length = 200;
  server.Run(3000 + 5 * 200);
  EXPECT_LE(server.learned.Curve().Quantile(0.7), 215);
}

TEST(LengthHistogramTest, ProgressInPiecesIsTheSameAsAWholeAnswer) {
  LengthHistogram whole, pieces;
  for (int i = 0; i < 50; ++i) {
    whole.Record(300 + i);
    pieces.RecordProgress(0, 7);
    pieces.RecordProgress(7, 8);
    pieces.RecordProgress(LengthCurve::UpperBound(LengthCurve::BucketOf(8)), 299);
    pieces.RecordEnd(300 + i, 299);
  }
  for (const double q : {0.1, 0.5, 0.9}) {
    EXPECT_EQ(whole.Curve().RemainingQuantile(0, q), pieces.Curve().RemainingQuantile(0, q)) << q;
    EXPECT_EQ(whole.Curve().RemainingQuantile(310, q), pieces.Curve().RemainingQuantile(310, q)) << q;
  }
}

TEST(LengthHistogramTest, MayBeReadWhileItIsRecorded) {
  LengthHistogram histogram;
  for (int i = 0; i < LengthHistogram::kMinSamples; ++i) histogram.Record(100);
  std::thread reader([&] {
    for (int i = 0; i < 2000; ++i) {
      const double left = histogram.Curve().RemainingQuantile(50, 0.5);
      ASSERT_GE(left, 30);
      ASSERT_LE(left, 60);
    }
  });
  for (int i = 0; i < 20000; ++i) histogram.Record(100);
  reader.join();
}

TEST(LengthHistogramTest, AcceptsAnyLength) {
  LengthHistogram histogram;
  for (int i = 0; i < 20; ++i) {
    histogram.Record(0);
    histogram.Record(INT32_MAX);
  }
  EXPECT_GE(histogram.Curve().Quantile(0.99), 1);
}

TEST(LengthHistogramTest, RemainingQuantilesFollowTheAnswersThatAreThatLong) {
  LengthHistogram histogram;
  EXPECT_EQ(histogram.Curve().RemainingQuantile(0, 0.5), -1);
  for (int i = 0; i < 500; ++i) histogram.Record(i % 2 == 0 ? 100 : 1000);
  EXPECT_NEAR(histogram.Curve().RemainingQuantile(0, 0.25), 98, 12);
  EXPECT_NEAR(histogram.Curve().RemainingQuantile(0, 0.75), 950, 80);
  EXPECT_NEAR(histogram.Curve().RemainingQuantile(500, 0.01), 370, 50) << "the short ones have ended";
  EXPECT_GE(histogram.Curve().RemainingQuantile(104, 0), 1);
  EXPECT_NEAR(histogram.Curve().RemainingQuantile(5000, 0.5), 5000, 1000) << "nothing was ever so long: as long again";
}

TEST(LengthCurveTest, SurvivalIsWhatTheQuantilesSay) {
  std::mt19937 random(4);
  LengthHistogram histogram;
  for (int i = 0; i < 2000; ++i) histogram.Record(static_cast<int32_t>(Thinking(random)) + 1);
  const LengthCurve curve = histogram.Curve();
  for (const int32_t produced : {0, 100, 2000, 9000}) {
    EXPECT_EQ(curve.Survival(produced, 0), 1);
    for (const double q : {0.1, 0.5, 0.9}) {
      const double more = curve.RemainingQuantile(produced, q);
      EXPECT_NEAR(curve.Survival(produced, static_cast<int32_t>(std::lround(more))), 1 - q, 0.01) << produced;
    }
  }
  EXPECT_EQ(LengthCurve().Survival(5, 100), 1) << "nothing is known";
}

}  // namespace
}  // namespace hadal::admission
