// SPDX-License-Identifier: Apache-2.0
#include "server/commands/load_progress.h"

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/admission/admission.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace hadal::commands {
namespace {

using hadal::testing::FakeClock;

TEST(LoadProgressTest, WhatIsLeftFollowsTheSpeedSoFar) {
  base::MetricRegistry metrics;
  FakeClock clock;
  LoadProgress progress(&metrics, /*terminal=*/false, &clock);
  progress.Begin("m", 0, 2);
  progress.Update(0, 100);
  EXPECT_EQ(progress.Remaining(), absl::ZeroDuration()) << "nothing is known yet";
  clock.Advance(absl::Seconds(5));
  progress.Update(50, 100);  // a quarter of two models
  // 15 s of weights, and what is taken to come after 20 s of them.
  EXPECT_NEAR(absl::ToDoubleSeconds(progress.Remaining()), 15 + 20 * 0.15 / 0.85, 0.01);
  EXPECT_EQ(progress.progress(), 0.25);
  EXPECT_THAT(metrics.Expose(), ::testing::HasSubstr("hadal_model_load_progress_ratio 0.25"));
  progress.Begin("n", 1, 2);
  clock.Advance(absl::Seconds(7));
  progress.Update(100, 100);
  progress.End();
  EXPECT_EQ(progress.progress(), 1);
  EXPECT_NEAR(absl::ToDoubleSeconds(progress.Remaining()), 12 * 0.15 / 0.85, 0.01);
  // Once warm-up steps are measured, they count.
  clock.Advance(absl::Seconds(3));
  progress.UpdateWarmUp(0.25);
  EXPECT_EQ(progress.Remaining(), absl::Seconds(9));
  clock.Advance(absl::Seconds(9));
  progress.UpdateWarmUp(1);
  EXPECT_EQ(progress.Remaining(), absl::ZeroDuration());
}

// 9 of docs/overload.md, "What other servers do badly": a slow start is taken for a hang. A load of about a minute,
// whose speed varies by a factor of two, and a warm-up of a seventh of that.
struct Told {
  int attempts = 0;         // of a client that comes when it is told, until it is served
  double median_error = 0;  // of the times that are told in the last half minute, of what it took in truth
};
Told LoadForAMinute(const std::function<absl::Duration(const absl::Status& refusal)>& hint) {
  base::MetricRegistry metrics;
  FakeClock clock;
  admission::AdmissionController::Options options;
  options.clock = &clock;
  const auto admission = *admission::AdmissionController::Create(std::move(options));
  LoadProgress progress(&metrics, /*terminal=*/false, &clock);
  progress.Begin("m", 0, 1);
  Told told;
  std::mt19937_64 random(3);
  std::vector<std::pair<absl::Time, absl::Duration>> hints;
  absl::Time next = clock.Now();
  for (int done = 1; done <= 1150; ++done) {
    clock.Advance(absl::Milliseconds(40 + random() % 40));
    if (done <= 1000) progress.Update(done, 1000);
    if (done == 1000) progress.End();
    if (done > 1000) progress.UpdateWarmUp((done - 1000) / 150.0);
    admission->SetLoading(std::max(absl::Seconds(1), progress.Remaining()));
    const absl::Status refusal = admission->TryAdmit({request::Priority::kNormal, "", "r", 0}).status();
    EXPECT_REASON(refusal, request::Reason::kModelLoading);
    if (done % 10 == 0) hints.emplace_back(clock.Now(), hint(refusal));
    if (clock.Now() < next) continue;
    ++told.attempts;
    next = clock.Now() + hint(refusal);
  }
  ++told.attempts;  // the one that is served
  std::vector<double> errors;
  for (const auto& [at, value] : hints) {
    const double left = absl::ToDoubleSeconds(clock.Now() - at);
    if (left >= 1 && left <= 27) errors.push_back(std::abs(absl::ToDoubleSeconds(value) - left) / left);
  }
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2), errors.end());
  told.median_error = errors[errors.size() / 2];
  return told;
}

TEST(PeerFailuresTest, ASlowStartLooksLikeAHang) {
  const Told naive = LoadForAMinute([](const absl::Status&) { return absl::Seconds(1); });
  const Told ours =
      LoadForAMinute([](const absl::Status& refusal) { return *request::GetErrorDetail(refusal).retry_after; });
  EXPECT_GT(naive.median_error, 0.2) << "the scenario no longer shows the failure";
  EXPECT_GT(naive.attempts, 5) << "the scenario no longer shows the failure";
  EXPECT_LE(ours.median_error, 0.2);
  EXPECT_LE(ours.attempts, 5);
  RecordProperty("naive", std::to_string(naive.attempts) + " attempts, error " + std::to_string(naive.median_error));
  RecordProperty("ours", std::to_string(ours.attempts) + " attempts, error " + std::to_string(ours.median_error));
}

}  // namespace
}  // namespace hadal::commands
