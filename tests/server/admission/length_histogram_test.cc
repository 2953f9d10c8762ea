// SPDX-License-Identifier: Apache-2.0
#include "server/admission/length_histogram.h"

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

TEST(LengthHistogramTest, KnowsNothingBeforeEnoughSamples) {
  LengthHistogram histogram;
  for (int i = 0; i < LengthHistogram::kMinSamples - 1; ++i) histogram.Record(100);
  EXPECT_EQ(histogram.Quantile(0.7), -1);
  EXPECT_EQ(PredictOutputTokens(histogram, 0.7, 1001), 501) << "cold start: half of max_tokens, rounded up";
  EXPECT_EQ(PredictOutputTokens(histogram, 0.7, 131072), kColdStartTokens) << "but no more than a usual answer";
  histogram.Record(100);
  EXPECT_GE(histogram.Quantile(0.7), 100);
}

TEST(LengthHistogramTest, QuantileIsAnUpperBoundWithinABucket) {
  LengthHistogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.Record(i);
  const int32_t q = histogram.Quantile(0.5);
  EXPECT_GE(q, 500);
  EXPECT_LE(q, 760) << "a bucket is at most 19 % wide; late records weigh more";
}

TEST(OutputLengthsTest, ThinkingAnswersAreCountedApart) {
  using request::Priority;
  OutputLengths lengths;
  for (int i = 0; i < 20; ++i) lengths.Record(Priority::kNormal, /*thinking=*/false, 100);
  EXPECT_LT(lengths.For(Priority::kNormal, true).Quantile(0.7), 0) << "nothing is known of the others";
  for (int i = 0; i < 20; ++i) lengths.Record(Priority::kLow, /*thinking=*/true, 8000);
  EXPECT_LE(lengths.For(Priority::kNormal, false).Quantile(0.7), 128);
  EXPECT_LE(lengths.For(Priority::kHigh, false).Quantile(0.7), 128) << "as in other classes";
  EXPECT_GE(lengths.For(Priority::kHigh, true).Quantile(0.7), 8000);
  EXPECT_GE(lengths.OfMode(true).RemainingQuantile(0, 0.5), 6000);
  EXPECT_GE(lengths.all().Quantile(0.7), 8000) << "half of them";
  EXPECT_LE(lengths.all().Quantile(0.3), 128);
}

TEST(LengthHistogramTest, PredictionNeverExceedsMaxTokens) {
  LengthHistogram histogram;
  for (int i = 0; i < 100; ++i) histogram.Record(4000);
  EXPECT_EQ(PredictOutputTokens(histogram, 0.7, 50), 50);
  EXPECT_EQ(PredictOutputTokens(histogram, 0.7, 0), 0);
}

TEST(LengthHistogramTest, FollowsAChangeOfTraffic) {
  LengthHistogram histogram;
  for (int i = 0; i < 5000; ++i) histogram.Record(2000);
  for (int i = 0; i < 3000; ++i) histogram.Record(20);
  EXPECT_LE(histogram.Quantile(0.7), 24);
}

TEST(LengthHistogramTest, RemainingIsConditionedOnWhatWasProduced) {
  LengthHistogram histogram;
  for (int i = 0; i < 500; ++i) {
    histogram.Record(10);
    histogram.Record(1000);
  }
  EXPECT_LT(histogram.MeanRemaining(0), 700);
  EXPECT_GT(histogram.MeanRemaining(100), 850);
  EXPECT_EQ(histogram.MeanRemaining(100000), -1) << "nothing was ever so long";
}

TEST(LengthHistogramTest, AcceptsAnyLength) {
  LengthHistogram histogram;
  for (int i = 0; i < 20; ++i) {
    histogram.Record(0);
    histogram.Record(INT32_MAX);
  }
  EXPECT_GE(histogram.Quantile(0.99), 1);
}

TEST(LengthHistogramTest, RemainingQuantilesFollowTheAnswersThatAreThatLong) {
  LengthHistogram histogram;
  EXPECT_EQ(histogram.RemainingQuantile(0, 0.5), -1);
  for (int i = 0; i < 500; ++i) histogram.Record(i % 2 == 0 ? 100 : 1000);
  EXPECT_NEAR(histogram.RemainingQuantile(0, 0.25), 98, 12);
  EXPECT_NEAR(histogram.RemainingQuantile(0, 0.75), 950, 80);
  EXPECT_NEAR(histogram.RemainingQuantile(500, 0.01), 370, 50) << "the short ones have ended";
  EXPECT_GE(histogram.RemainingQuantile(104, 0), 1);
  EXPECT_EQ(histogram.RemainingQuantile(5000, 0.5), -1) << "nothing was ever so long";
}

}  // namespace
}  // namespace hadal::admission
