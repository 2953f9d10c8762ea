// SPDX-License-Identifier: Apache-2.0
// Callers of the simulator that return when told, and those that do not.
#include <nlohmann/json.hpp>

#include "benchmarks/sim/simulation.h"
#include "gtest/gtest.h"
#include "tests/benchmarks/sim/experiments.h"

namespace hadal::sim {
namespace {

TEST(SimulationTest, FreshCallersAreNotTakenForReturningOnes) {
  // The high class alone is 0.9 of the capacity. Nobody returns, so nobody passes the wait limit by a promise.
  Experiment experiment = WithLimits(AtLoad(28.5 * 9, absl::Seconds(60)));
  experiment.workload.groups = {{.share = 0.1, .priority = request::Priority::kHigh},
                                {.share = 0.9, .priority = request::Priority::kNormal}};
  const nlohmann::json report = Report(experiment);
  EXPECT_LE(report["late_tokens_ratio"], 0.06) << "0.12 of normal callers that waited for 20 s";
  EXPECT_GE(report["classes"]["high"]["success_ratio"], 0.99);
  EXPECT_LE(report["classes"]["high"]["ttft_s"]["p50"], 0.3);
}

TEST(SimulationTest, CallersThatObeyComeBack) {
  Experiment experiment = AtLoad(60);
  experiment.admission.max_queue_requests = 16;
  experiment.client = "obey";
  const RunResult result = *Simulate(experiment);
  int64_t returned = 0;
  for (const Outcome& outcome : result.outcomes) {
    EXPECT_LE(outcome.tries, 5);
    EXPECT_EQ(outcome.tries, static_cast<int>(outcome.refusals.size()) + outcome.failure.ok());
    returned += outcome.tries > 1;
  }
  EXPECT_GT(returned, 100);
}

TEST(SimulationTest, PromisesAreKeptAndEstimatesJudged) {
  Experiment experiment = WithLimits(AtLoad(57, absl::Seconds(90)));
  experiment.client = "obey";
  experiment.admission.surplus_retry = admission::SurplusRetry::kDeny;
  experiment.admission.ghost_share = 0.1;
  const nlohmann::json report = Report(experiment);
  const nlohmann::json& promises = report["promises"];
  EXPECT_GT(promises["returned"], 200);
  EXPECT_LE(promises["returned"].get<int>(), promises["made"].get<int>());
  EXPECT_GE(promises["admitted_ratio"], 0.9);
  EXPECT_GT(promises["tries_of_served_mean"], 1);
  EXPECT_LE(promises["tries_of_served_mean"], 1.2);
  const nlohmann::json& errors = report["estimate_errors"];
  EXPECT_TRUE(errors.back()[0].is_null()) << "the last bucket has no bound";
  EXPECT_GT(errors.back()[1], 20);
  for (const nlohmann::json& bucket : errors) {
    if (bucket[0] == 0.5) EXPECT_GE(bucket[1].get<double>(), 0.5 * errors.back()[1].get<double>());
  }
  // More is judged after the load, when who was refused last could be served.
  EXPECT_GT(report["under_load"]["ghosts"], 20);
  EXPECT_LT(report["under_load"]["ghosts"], report["ghosts"]);
  EXPECT_LE(report["under_load"]["estimate_errors"].back()[1], errors.back()[1]);
  // Callers that do not listen come at other times: nothing was promised for those.
  experiment.client = "none";
  EXPECT_EQ(Report(experiment)["promises"]["returned"], 0);
}

TEST(SimulationTest, PromisesAreKeptToCallersWhomNothingTellsApart) {
  Experiment experiment = WithLimits(AtLoad(57, absl::Seconds(150)));
  experiment.client = "obey";
  experiment.known_by = KnownBy::kNothing;
  experiment.lateness = absl::Milliseconds(3);
  experiment.admission.surplus_retry = admission::SurplusRetry::kDeny;
  const nlohmann::json report = Report(experiment);
  const nlohmann::json& promises = report["promises"];
  EXPECT_GT(promises["returned"], 150);
  EXPECT_GE(promises["admitted_ratio"], 0.9) << "0.85 when the first who came took the place";
  EXPECT_LE(promises["tries_of_served_mean"], 1.2);
}

// All places of the null model come free at once, every third of a second, and the slots of the queue with them.
TEST(SimulationTest, PromisesAreKeptWhereSlotsComeFreeInLumps) {
  Experiment experiment;
  experiment.device = *FindDevice("null-20ms");
  experiment.device.max_batch_size = 32;
  experiment.workload.lengths = *bench::ParseLengthMix("12:16");
  experiment.workload.rate = *bench::RateProfile::Parse("485", 45);
  experiment.max_tokens = 16;
  experiment.client = "obey";
  experiment.admission.surplus_retry = admission::SurplusRetry::kDeny;
  const nlohmann::json promises = Report(experiment)["promises"];
  EXPECT_GT(promises["returned"], 100);
  ASSERT_FALSE(promises["admitted_ratio"].is_null()) << promises;
  EXPECT_GE(promises["admitted_ratio"], 0.95) << "0.89 when slots were kept for the last tenth of a second alone";
}

}  // namespace
}  // namespace hadal::sim
