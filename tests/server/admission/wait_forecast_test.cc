// SPDX-License-Identifier: Apache-2.0
#include "server/admission/wait_forecast.h"

#include <atomic>
#include <cmath>
#include <thread>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;

const absl::Time kStart = absl::FromUnixSeconds(1000);

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }

// `free` places now and `rate` more a second; steps of 20 ms; blocks in plenty.
ForecastTable Table(double free, double rate, absl::Time made = kStart) {
  ForecastTable table;
  table.made = made;
  table.known = true;
  for (int i = 0; i <= kForecastBuckets; ++i) {
    table.starts[i] = static_cast<float>(free + rate * Seconds(i * kForecastBucket));
    table.blocks[i] = 1e6;
  }
  table.step_time.step_s = 0.02;
  table.max_batch_tokens = 100;
  return table;
}

TEST(WaitForecastTest, KnowsNothingBeforeItIsTold) {
  WaitForecast forecast;
  EXPECT_FALSE(forecast.Predict(Priority::kNormal, {}, kStart).known);
  EXPECT_FALSE(forecast.Load().known);
}

TEST(WaitForecastTest, AFreePlaceMeansNoWait) {
  WaitForecast forecast;
  forecast.Publish(Table(1, 0));
  const WaitPrediction prediction = forecast.Predict(Priority::kNormal, {.prompt_tokens = 150}, kStart);
  EXPECT_TRUE(prediction.known);
  EXPECT_EQ(prediction.start, absl::ZeroDuration());
  EXPECT_NEAR(Seconds(prediction.first_token), 0.04, 1e-6) << "150 tokens are two steps of at most 100";
  EXPECT_NEAR(Seconds(prediction.unloaded), 0.04, 1e-6);
}

TEST(WaitForecastTest, WaitsForThoseAhead) {
  WaitForecast forecast;
  forecast.Publish(Table(0, 10));
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 0.1, 1e-4);
  for (int i = 0; i < 19; ++i) forecast.AddWaiting(Priority::kNormal, 0);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 2, 1e-4);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kHigh, {}, kStart).start), 0.1, 1e-4) << "it overtakes them";
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kLow, {}, kStart, {.others = 10}).start), 3, 1e-4);
}

// Places in plenty; prompts are computed at `rate` tokens a second.
ForecastTable PromptTable(double rate) {
  ForecastTable table = Table(1000, 0);
  for (int i = 0; i <= kForecastBuckets; ++i) {
    table.prompt_tokens[i] = static_cast<float>(rate * Seconds(i * kForecastBucket));
  }
  return table;
}

TEST(WaitForecastTest, WaitsForThePromptsAhead) {
  WaitForecast forecast;
  ForecastTable table = PromptTable(1000);
  table.prefilling_tokens[static_cast<size_t>(Priority::kNormal)] = 300;
  forecast.Publish(table);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 0.3, 1e-4) << "one that runs already";
  EXPECT_EQ(forecast.Predict(Priority::kHigh, {}, kStart).start, absl::ZeroDuration()) << "its prompt goes first";
  for (int i = 0; i < 10; ++i) forecast.AddWaiting(Priority::kNormal, 200);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 2.3, 1e-4);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart, {.class_share = 0.1}).start), 0.5, 1e-4);
  // Half a second later: what has started since still waits for its turn in the batch.
  for (int i = 0; i < 6; ++i) forecast.RemoveWaiting(Priority::kNormal, 200, /*started=*/true);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart + absl::Seconds(0.5)).start), 1.8, 1e-4);
  forecast.RemoveWaiting(Priority::kNormal, 200, /*started=*/false);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart + absl::Seconds(0.5)).start), 1.6, 1e-4);
  EXPECT_EQ(forecast.Predict(Priority::kHigh, {}, kStart).start, absl::ZeroDuration());
}

TEST(WaitForecastTest, PromptsFoundInTheCacheTakeNoTime) {
  WaitForecast forecast;
  ForecastTable table = PromptTable(1000);
  table.computed_share = 0.25;
  forecast.Publish(table);
  for (int i = 0; i < 10; ++i) forecast.AddWaiting(Priority::kNormal, 200);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 0.5, 1e-4);
}

TEST(WaitForecastTest, OvertakersBringTheirPrompts) {
  WaitForecast forecast;
  ForecastTable table = PromptTable(1000);
  table.arrivals_per_second[0] = 5;
  table.prompt_tokens_per_request = 100;
  forecast.Publish(table);
  for (int i = 0; i < 5; ++i) forecast.AddWaiting(Priority::kLow, 200);
  // Half of every second, and two standard deviations of random arrivals of random length, whose rate is uncertain too:
  // 1000 t = 1000 + 100 (5 t + 2 sqrt(2 * 5 t (1 + t / 28.9))).
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kLow, {}, kStart).start), 5.098, 0.01);
}

TEST(WaitForecastTest, OtherTenantsOfItsClassOvertakeToo) {
  WaitForecast forecast;
  forecast.Publish(Table(0, 10));
  for (int i = 0; i < 9; ++i) forecast.AddWaiting(Priority::kNormal, 0);
  const WaitForecast::Line line = {.overtakers_per_second = 5};
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart, line).start), 2, 1e-4);
}

TEST(WaitForecastTest, RoomForPromptsEndsWhereTheWaitIsTooLong) {
  WaitForecast forecast;
  ForecastTable table = PromptTable(1000);
  table.prompt_tokens_per_request = 100;
  forecast.Publish(table);
  for (int i = 0; i < 5; ++i) forecast.AddWaiting(Priority::kNormal, 100);
  CapacityCurve curve;
  forecast.ReadCapacity(Priority::kNormal, kStart, absl::Seconds(1), &curve);
  EXPECT_NEAR(curve.places[0], 5, 1e-3) << "five more wait for at most a second";
  EXPECT_NEAR(curve.places[4], 15, 1e-3) << "in a second another ten";
  EXPECT_NEAR(curve.places[kForecastBuckets], 305, 0.1);
  CapacityCurve unlimited;
  forecast.ReadCapacity(Priority::kNormal, kStart, absl::InfiniteDuration(), &unlimited);
  EXPECT_NEAR(unlimited.places[0], 995, 1e-3);
}

TEST(WaitForecastTest, StaysExactBetweenPublications) {
  WaitForecast forecast;
  for (int i = 0; i < 20; ++i) forecast.AddWaiting(Priority::kNormal, 0);
  forecast.Publish(Table(0, 10));
  // Half a second later, five have started as foreseen: it is 15 and its own place that are ahead.
  for (int i = 0; i < 5; ++i) forecast.RemoveWaiting(Priority::kNormal, 0, /*started=*/true);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart + absl::Seconds(0.5)).start), 1.6, 1e-4);
  // Five more were cancelled: they took no start.
  for (int i = 0; i < 5; ++i) forecast.RemoveWaiting(Priority::kNormal, 0, /*started=*/false);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart + absl::Seconds(0.5)).start), 1.1, 1e-4);
}

TEST(WaitForecastTest, AStuckEngineServesNobodyHoweverOldTheForecast) {
  WaitForecast forecast;
  forecast.Publish(Table(0, 10));
  for (int i = 0; i < 50; ++i) forecast.AddWaiting(Priority::kNormal, 0);
  EXPECT_GE(forecast.Predict(Priority::kNormal, {}, kStart + absl::Seconds(25)).start, absl::Seconds(4));
}

TEST(WaitForecastTest, MoreUrgentArrivalsOvertake) {
  WaitForecast forecast;
  ForecastTable table = Table(0, 10);
  table.arrivals_per_second[0] = 5;
  forecast.Publish(table);
  for (int i = 0; i < 9; ++i) forecast.AddWaiting(Priority::kLow, 0);
  // 10 t = 10 + 5 t + 2 sqrt(5 t (1 + t / 28.9)), the last as the rate of arrivals is an average of as long.
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kLow, {}, kStart).start), 3.875, 0.01);
  table.arrivals_per_second[0] = 10;
  forecast.Publish(table);
  EXPECT_EQ(forecast.Predict(Priority::kLow, {}, kStart).start, absl::InfiniteDuration());
}

TEST(WaitForecastTest, AnAgedRequestPassesMoreUrgentOnesInItsShareOfTheRoom) {
  WaitForecast forecast;
  ForecastTable table = Table(0, 10);
  table.class_step = absl::Seconds(2);
  table.arrivals_per_second[0] = 10;
  forecast.Publish(table);
  // High requests take all room; a thirty-second of it is its own from the fourth second on.
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kLow, {}, kStart).start), 4 + 3.2, 1e-3);
  forecast.AddWaiting(Priority::kLow, 0);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kLow, {}, kStart).start), 4 + 6.4, 1e-3);
  // Of what normal requests take, a tenth from the second second on.
  table.arrivals_per_second = {0, 10};
  forecast.Publish(table);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kLow, {}, kStart).start), 2 + 2, 1e-3);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 0.1, 1e-3) << "nine go before it";
}

TEST(WaitForecastTest, LessUrgentRequestsPassInTheirShareWhileTheyWait) {
  WaitForecast forecast;
  ForecastTable table = Table(0, 10);
  forecast.Publish(table);
  for (int i = 0; i < 17; ++i) forecast.AddWaiting(Priority::kNormal, 0);
  for (int i = 0; i < 100; ++i) forecast.AddWaiting(Priority::kLow, 0);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 1.8, 1e-3) << "classes do not age";
  table.class_step = absl::Seconds(8);
  forecast.Publish(table);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 2, 1e-3);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kHigh, {}, kStart).start), 0.1, 1e-3);
  for (int i = 0; i < 99; ++i) forecast.RemoveWaiting(Priority::kLow, 0, /*started=*/false);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {}, kStart).start), 1.9, 1e-3) << "there is but one";
}

TEST(WaitForecastTest, WaitsForMemoryToo) {
  WaitForecast forecast;
  ForecastTable table = Table(5, 10);
  for (int i = 0; i <= kForecastBuckets; ++i) table.blocks[i] = static_cast<float>(4 * i);  // 16 a second
  forecast.Publish(table);
  EXPECT_NEAR(Seconds(forecast.Predict(Priority::kNormal, {.blocks = 40}, kStart).start), 2.5, 1e-4);
  EXPECT_EQ(forecast.Predict(Priority::kNormal, {.blocks = 481}, kStart).start, absl::InfiniteDuration());
}

TEST(WaitForecastTest, SaysWhatNoRetryCanImprove) {
  WaitForecast forecast;
  ForecastTable table = Table(0, 1);
  table.step_time = {.step_s = 0.01, .sequence_s = 0.001, .prefill_token_s = 0.0001};
  table.sequences = 50;
  table.max_batch_tokens = 250;
  forecast.Publish(table);
  const WaitPrediction prediction = forecast.Predict(Priority::kHigh, {.prompt_tokens = 400}, kStart);
  EXPECT_NEAR(Seconds(prediction.unloaded), 2 * 0.011 + 0.04, 1e-6);
  EXPECT_NEAR(Seconds(prediction.first_token - prediction.start), 2 * 0.061 + 0.04, 1e-6);
}

TEST(WaitForecastTest, AskersNeedNoLock) {
  WaitForecast forecast;
  forecast.Publish(Table(0, 10));
  std::atomic<bool> stop{false};
  std::thread publisher([&] {
    for (int i = 0; !stop; ++i) {
      forecast.Publish(Table(0, i % 2 == 0 ? 10 : 20));
      forecast.AddWaiting(Priority::kLow, 0);
      forecast.RemoveWaiting(Priority::kLow, 0, false);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    const absl::Duration start = forecast.Predict(Priority::kNormal, {}, kStart).start;
    ASSERT_GE(start, absl::Seconds(0.04));
    ASSERT_LE(start, absl::Seconds(0.11));
  }
  stop = true;
  publisher.join();
}

}  // namespace
}  // namespace hadal::admission
