// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "benchmarks/sim/simulation.h"

namespace hadal::sim {

// What a served call must meet to count. TTFT is taken from the try that was admitted: what a caller waits before, it
// was told to wait.
struct ServiceLevel {
  absl::Duration ttft = absl::Seconds(2);
  absl::Duration tpot = absl::Milliseconds(80);  // (end - first token) / (tokens - 1)
};

// What no policy can exceed: tokens a second of an ideal device that computes `tokens_per_s`, lets in whatever finds
// less work ahead of it than `ttft`, and is idle only when nothing waits. Bursts leave any device idle between them.
double AttainableTokensPerSecond(const RunResult& result, double tokens_per_s, absl::Duration ttft,
                                 absl::Duration warm_up, absl::Duration end);

// One line of JSON: everything that docs/overload.md shows of a run. Calls that arrive before `warm_up` are left out,
// and so is work that ends outside [warm_up, end of arrivals). `peak_tokens_per_s` is the best goodput at any load, for
// the attainable goodput; 0: unknown.
std::string ReportJson(const Experiment& experiment, const RunResult& result, const ServiceLevel& level,
                       absl::Duration warm_up, double peak_tokens_per_s = 0);

// One JSON object a line and call, in the order of arrival: what it wanted, its refusals, and when it was admitted, had
// its first token and was finished (null: never), in seconds since the start of the run.
void WriteCalls(const RunResult& result, uint64_t seed, std::ostream& out);

}  // namespace hadal::sim
