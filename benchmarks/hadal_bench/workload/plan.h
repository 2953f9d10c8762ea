// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "benchmarks/hadal_bench/workload/arrivals.h"
#include "benchmarks/hadal_bench/workload/lengths.h"
#include "benchmarks/hadal_bench/workload/trace_file.h"
#include "benchmarks/hadal_bench/workload/traffic_mix.h"

namespace hadal::bench {

// One request that will be sent, decided before the run begins.
struct PlannedRequest {
  double at_s = 0;  // intended send time; latency counts from here
  int prompt_tokens = 1;
  int output_tokens = 1;
  int traffic_class = 0;  // index into the classes; 0 also without classes
  int tenant = 0;
  uint64_t prompt_seed = 0;
  std::vector<uint64_t> prefix_blocks;  // of a trace, else empty
};

// What lengths are bounded by. A length beyond its limit is cut to it, and counted.
struct LengthLimits {
  double scale = 1;  // multiplies both lengths first
  int max_prompt_tokens = std::numeric_limits<int>::max();
  int max_output_tokens = std::numeric_limits<int>::max();
};

struct Plan {
  std::vector<PlannedRequest> requests;  // in order of at_s
  int64_t cut_lengths = 0;               // requests with a length beyond its limit
};

// Lengths from `mix` for arrivals of a random process. The same seed gives the same plan.
Plan PlanArrivals(const std::vector<double>& arrivals, const LengthMix& mix, const LengthLimits& limits,
                  const std::vector<TrafficShare>& classes, const std::vector<TrafficShare>& tenants, uint64_t seed);
// Times and lengths of a trace, `speed` times as fast, up to `duration_s`.
Plan PlanTrace(const std::vector<TraceEntry>& trace, double speed, double duration_s, const LengthLimits& limits,
               const std::vector<TrafficShare>& classes, const std::vector<TrafficShare>& tenants, uint64_t seed);

}  // namespace hadal::bench
