// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/plan.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace hadal::bench {
namespace {

constexpr int64_t kMaxTokens = 10'000'000;  // of a length, as --lengths takes them

// Draws what a trace or a distribution does not say, and applies the limits.
class Planner {
 public:
  Planner(const LengthLimits& limits, const std::vector<TrafficShare>& classes,
          const std::vector<TrafficShare>& tenants, uint64_t seed)
      : limits_(limits), classes_(classes), tenants_(tenants), random_(seed ^ 0x9e3779b97f4a7c15u) {}

  double Uniform() { return uniform_(random_); }

  void Add(double at_s, int prompt_tokens, int output_tokens, std::vector<uint64_t> prefix_blocks) {
    PlannedRequest request;
    request.at_s = at_s;
    const int prompt = Scaled(prompt_tokens), output = Scaled(output_tokens);
    request.prompt_tokens = std::min(prompt, limits_.max_prompt_tokens);
    request.output_tokens = std::min(output, limits_.max_output_tokens);
    if (request.prompt_tokens < prompt || request.output_tokens < output) ++plan_.cut_lengths;
    request.traffic_class = ChooseShare(classes_, Uniform());
    request.tenant = ChooseShare(tenants_, Uniform());
    request.prompt_seed = random_();
    request.prefix_blocks = std::move(prefix_blocks);
    plan_.requests.push_back(std::move(request));
  }

  Plan Take() { return std::move(plan_); }

 private:
  int Scaled(int tokens) const {
    return static_cast<int>(std::clamp<int64_t>(std::llround(tokens * limits_.scale), 1, kMaxTokens));
  }

  const LengthLimits& limits_;
  const std::vector<TrafficShare>& classes_;
  const std::vector<TrafficShare>& tenants_;
  std::mt19937_64 random_;
  std::uniform_real_distribution<double> uniform_{0.0, 1.0};
  Plan plan_;
};

}  // namespace

Plan PlanArrivals(const std::vector<double>& arrivals, const LengthMix& mix, const LengthLimits& limits,
                  const std::vector<TrafficShare>& classes, const std::vector<TrafficShare>& tenants, uint64_t seed) {
  Planner planner(limits, classes, tenants, seed);
  for (const double at_s : arrivals) {
    const int prompt = mix.prompt.Quantile(planner.Uniform());
    const int output = mix.output.Quantile(planner.Uniform());
    planner.Add(at_s, prompt, output, {});
  }
  return planner.Take();
}

Plan PlanTrace(const std::vector<TraceEntry>& trace, double speed, double duration_s, const LengthLimits& limits,
               const std::vector<TrafficShare>& classes, const std::vector<TrafficShare>& tenants, uint64_t seed) {
  Planner planner(limits, classes, tenants, seed);
  for (const TraceEntry& entry : trace) {
    const double at_s = entry.at_s / speed;
    if (at_s >= duration_s) break;
    planner.Add(at_s, entry.prompt_tokens, entry.output_tokens, entry.prefix_blocks);
  }
  return planner.Take();
}

}  // namespace hadal::bench
