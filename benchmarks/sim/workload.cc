// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/workload.h"

#include <utility>

#include "benchmarks/hadal_bench/workload/traffic_mix.h"

namespace hadal::sim {
namespace {

// Bytes of a token in a body differ from text to text: 3.4 to 5, drawn by the prompt's seed.
double BytesPerToken(uint64_t prompt_seed) {
  constexpr double kUnit = 1.0 / (uint64_t{1} << 53);
  return 3.4 + 1.6 * static_cast<double>(prompt_seed >> 11) * kUnit;
}

}  // namespace

std::vector<Call> DrawCalls(const WorkloadSpec& spec, uint64_t seed) {
  bench::ArrivalOptions arrivals = spec.arrivals;
  arrivals.seed = seed;
  arrivals.from_arrival = true;  // as the kept results of bursts were made: they begin with one
  // Class and tenant belong together here, so that the groups are what hadal-bench calls classes.
  std::vector<bench::TrafficShare> shares;
  for (const CallerGroup& group : spec.groups) shares.emplace_back().weight = group.share;
  const bench::Plan plan =
      bench::PlanArrivals(bench::DrawArrivals(arrivals, spec.rate), spec.lengths, spec.length_limits, shares, {}, seed);
  std::vector<Call> calls;
  calls.reserve(plan.requests.size());
  for (const bench::PlannedRequest& planned : plan.requests) {
    const CallerGroup& group = spec.groups[planned.traffic_class];
    const int32_t prompt_tokens = spec.shared_prefix_tokens + planned.prompt_tokens;
    calls.push_back({.arrival = absl::Seconds(planned.at_s),
                     .priority = group.priority,
                     .tenant = group.tenant,
                     .prompt_tokens = prompt_tokens,
                     .shared_tokens = spec.shared_prefix_tokens,
                     .output_tokens = planned.output_tokens,
                     .body_bytes = static_cast<int64_t>(prompt_tokens * BytesPerToken(planned.prompt_seed)) + 120});
  }
  return calls;
}

}  // namespace hadal::sim
