// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/time.h"
#include "benchmarks/sim/report.h"
#include "benchmarks/sim/simulation.h"

namespace hadal::sim {

inline Experiment AtLoad(double requests_per_second, absl::Duration duration = absl::Seconds(30)) {
  Experiment experiment;
  experiment.device = *FindDevice("h200-7b");
  experiment.workload.lengths = *bench::ParseLengthMix("azure-conversation");
  experiment.workload.rate = bench::RateProfile::Constant(requests_per_second, absl::ToDoubleSeconds(duration));
  return experiment;
}

inline nlohmann::json Report(const Experiment& experiment) {
  return nlohmann::json::parse(ReportJson(experiment, *Simulate(experiment), ServiceLevel{}, absl::Seconds(10)));
}

// The service level of 2 s, less what a prompt and the error of the forecast take.
inline Experiment WithLimits(Experiment experiment) {
  experiment.admission.wait_limits = {absl::Seconds(1), absl::Milliseconds(1500), absl::Seconds(30),
                                      absl::InfiniteDuration()};
  return experiment;
}

}  // namespace hadal::sim
