// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::sim {

// Lengths in tokens: log-normal, cut at the 99.9th percentile.
struct LengthSpec {
  double mu = 0;
  double sigma = 0;
};

// "azure-conversation", "azure-code" (Patel et al., "Splitwise", ISCA 2024; the fits of the public 2023 traces), and
// "thinking", our own mix: prompts of azure-conversation with long outputs as of a reasoning model.
struct LengthMix {
  std::string name;
  LengthSpec prompt;
  LengthSpec output;
};
absl::StatusOr<LengthMix> FindLengths(std::string_view name);

// A part of the callers: its share of arrivals, its class and its tenant.
struct CallerGroup {
  double share = 1;
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;
};

struct WorkloadSpec {
  LengthMix lengths;
  double requests_per_second = 1;
  double coefficient_of_variation = 1;  // of the times between arrivals: 1 is Poisson, else gamma
  absl::Duration duration = absl::Seconds(120);
  // From `step_at` on the rate is `step_factor` times as high, until `step_end`.
  absl::Duration step_at = absl::InfiniteDuration();
  absl::Duration step_end = absl::InfiniteDuration();
  double step_factor = 1;
  std::vector<CallerGroup> groups = {CallerGroup{}};
};

// What one caller wants.
struct Call {
  absl::Duration arrival;  // since the start; drawn in advance, whatever the server does
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;
  int64_t body_bytes = 0;
};

// All calls of a run in the order of arrival. The same seed gives the same calls.
std::vector<Call> DrawCalls(const WorkloadSpec& spec, uint64_t seed);

}  // namespace hadal::sim
