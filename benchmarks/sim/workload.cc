// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/workload.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::sim {
namespace {

using Random = std::mt19937_64;

constexpr double kNormalQuantile999 = 3.0902;

int32_t DrawLength(const LengthSpec& spec, Random& random) {
  std::normal_distribution<double> normal;
  double z = normal(random);
  while (z > kNormalQuantile999) z = normal(random);
  return std::max(1, static_cast<int32_t>(std::lround(std::exp(spec.mu + spec.sigma * z))));
}

// Time to the next arrival, with mean 1.
double DrawGap(double cv, Random& random) {
  if (cv == 1) return std::exponential_distribution<double>(1)(random);
  const double shape = 1 / (cv * cv);
  return std::gamma_distribution<double>(shape, 1 / shape)(random);
}

const CallerGroup& DrawGroup(const std::vector<CallerGroup>& groups, Random& random) {
  double total = 0;
  for (const CallerGroup& group : groups) total += group.share;
  double at = std::uniform_real_distribution<double>(0, total)(random);
  for (const CallerGroup& group : groups) {
    if (at < group.share) return group;
    at -= group.share;
  }
  return groups.back();
}

}  // namespace

absl::StatusOr<LengthMix> FindLengths(std::string_view name) {
  const LengthSpec conversation_prompt = {6.63, 0.99};
  if (name == "azure-conversation") return LengthMix{std::string(name), conversation_prompt, {5.02, 0.86}};
  if (name == "azure-code") return LengthMix{std::string(name), {7.00, 1.36}, {2.79, 0.85}};
  if (name == "thinking") return LengthMix{std::string(name), conversation_prompt, {7.5, 0.7}};
  return absl::InvalidArgumentError(
      absl::StrCat("no lengths \"", base::View(name), "\"; there are azure-conversation, azure-code and thinking"));
}

std::vector<Call> DrawCalls(const WorkloadSpec& spec, uint64_t seed) {
  Random random(seed);
  std::uniform_real_distribution<double> bytes_per_token(3.4, 5.0);
  std::vector<Call> calls;
  // In units of the mean gap at the base rate; a step makes the same gaps pass faster.
  double now_s = 0;
  while (true) {
    const absl::Duration now = absl::Seconds(now_s);
    const bool stepped = now >= spec.step_at && now < spec.step_end;
    now_s +=
        DrawGap(spec.coefficient_of_variation, random) / (spec.requests_per_second * (stepped ? spec.step_factor : 1));
    if (absl::Seconds(now_s) >= spec.duration) return calls;
    const CallerGroup& group = DrawGroup(spec.groups, random);
    Call call;
    call.arrival = absl::Seconds(now_s);
    call.priority = group.priority;
    call.tenant = group.tenant;
    call.prompt_tokens = DrawLength(spec.lengths.prompt, random);
    call.output_tokens = DrawLength(spec.lengths.output, random);
    call.body_bytes = static_cast<int64_t>(call.prompt_tokens * bytes_per_token(random)) + 120;
    calls.push_back(std::move(call));
  }
}

}  // namespace hadal::sim
