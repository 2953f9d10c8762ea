// SPDX-License-Identifier: Apache-2.0
// What other servers do badly (docs/overload.md), as far as load is concerned: each scenario gives one figure and runs
// twice on the virtual clock, on a naive policy, where the figure is beyond the bound, and on ours, where it is not.
#include <nlohmann/json.hpp>

#include "benchmarks/sim/report.h"
#include "benchmarks/sim/simulation.h"
#include "gtest/gtest.h"

namespace hadal::sim {
namespace {

constexpr double kCapacity = 28.5;  // requests/s of the mix on the device

Experiment AtLoad(double requests_per_second, absl::Duration duration) {
  Experiment experiment;
  experiment.device = *FindDevice("h200-7b");
  experiment.workload.lengths = *bench::ParseLengthMix("azure-conversation");
  experiment.workload.rate = bench::RateProfile::Constant(requests_per_second, absl::ToDoubleSeconds(duration));
  return experiment;
}

// No limit on the queue or on anybody's wait, and no count of memory: who comes is let in.
Experiment Naive(Experiment experiment) {
  experiment.lease_memory = false;
  experiment.admission.max_queue_requests = 1 << 30;
  experiment.admission.wait_limits.fill(absl::InfiniteDuration());
  return experiment;
}

// The service level of 2 s, less what a prompt and the error of the forecast take.
Experiment Ours(Experiment experiment) {
  experiment.admission.wait_limits = {absl::Seconds(1), absl::Milliseconds(1350), absl::Seconds(30),
                                      absl::InfiniteDuration()};
  return experiment;
}

// 2. An unbounded queue: 10,000 calls at ten times the capacity. The most that wait at any instant, and the share of
// what is computed that is in time.
struct Crowd {
  int64_t waiting = 0;
  double in_time = 0;
  bool all_answered = true;
};
Crowd TenThousandCalls(const Experiment& experiment) {
  const RunResult result = *Simulate(experiment);
  Crowd crowd{.waiting = result.waiting_high_water};
  for (const Outcome& outcome : result.outcomes) {
    crowd.all_answered = crowd.all_answered && (outcome.failure.ok() ? outcome.finished < absl::InfiniteDuration()
                                                                     : !outcome.refusals.empty());
  }
  const nlohmann::json report =
      nlohmann::json::parse(ReportJson(experiment, result, ServiceLevel{}, absl::Seconds(10)));
  crowd.in_time = report["goodput_tokens_per_s"].get<double>() / report["served_tokens_per_s"].get<double>();
  return crowd;
}

TEST(PeerFailuresTest, AnUnboundedQueueServesEverybodyTooLate) {
  const Experiment crowd = AtLoad(10 * kCapacity, absl::Seconds(35));
  const Crowd naive = TenThousandCalls(Naive(crowd)), ours = TenThousandCalls(Ours(crowd));
  EXPECT_GT(naive.waiting, 512) << "the scenario no longer shows the failure";
  EXPECT_LT(naive.in_time, 0.9) << "the scenario no longer shows the failure";
  EXPECT_LE(ours.waiting, 512);
  EXPECT_GE(ours.in_time, 0.9);
  EXPECT_TRUE(ours.all_answered);
  RecordProperty("naive", std::to_string(naive.waiting) + " waiting, " + std::to_string(naive.in_time) + " in time");
  RecordProperty("ours", std::to_string(ours.waiting) + " waiting, " + std::to_string(ours.in_time) + " in time");
}

// 10. Memory is counted when it has run out: the share of computed tokens that preemption throws away and that are
// computed again, where answers are longer than prompts and memory is what limits.
double RecomputedShare(const Experiment& experiment) {
  const RunResult result = *Simulate(experiment);
  return static_cast<double>(result.recomputed_tokens) / static_cast<double>(result.computed_tokens);
}

TEST(PeerFailuresTest, WithoutReservationsWorkIsDoneTwice) {
  Experiment tight = AtLoad(20, absl::Seconds(60));
  tight.workload.lengths = *bench::ParseLengthMix("200:800");
  tight.device.kv_pool_tokens = 40'000;
  const double naive = RecomputedShare(Naive(tight)), ours = RecomputedShare(Ours(tight));
  EXPECT_GT(naive, 0.01) << "the scenario no longer shows the failure";
  EXPECT_LE(ours, 0.01);
  RecordProperty("naive", std::to_string(naive));
  RecordProperty("ours", std::to_string(ours));
}

}  // namespace
}  // namespace hadal::sim
