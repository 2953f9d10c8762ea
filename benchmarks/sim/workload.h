// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/hadal_bench/workload/arrivals.h"
#include "benchmarks/hadal_bench/workload/lengths.h"
#include "benchmarks/hadal_bench/workload/plan.h"
#include "benchmarks/hadal_bench/workload/rate_profile.h"
#include "server/request/request.h"

namespace hadal::sim {

// A part of the callers: its share of arrivals, its class and its tenant.
struct CallerGroup {
  double share = 1;
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;
};

// What hadal-bench would send, and who calls.
struct WorkloadSpec {
  bench::LengthMix lengths;
  bench::LengthLimits length_limits;
  int32_t shared_prefix_tokens = 0;  // with which every prompt begins, before those of `lengths`
  bench::ArrivalOptions arrivals;    // DrawCalls sets the seed
  bench::RateProfile rate = bench::RateProfile::Constant(1, 120);
  std::vector<CallerGroup> groups = {CallerGroup{}};

  absl::Duration duration() const { return absl::Seconds(rate.duration_s()); }  // of the arrivals
};

// What one caller wants.
struct Call {
  absl::Duration arrival;  // since the start; drawn in advance, whatever the server does
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;
  int32_t prompt_tokens = 0;
  int32_t shared_tokens = 0;  // of them, the first ones: the same in every call
  int32_t output_tokens = 0;
  int64_t body_bytes = 0;
};

// All calls of a run in the order of arrival. The same seed gives the same calls.
std::vector<Call> DrawCalls(const WorkloadSpec& spec, uint64_t seed);

}  // namespace hadal::sim
