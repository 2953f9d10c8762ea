// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmarks/hadal_bench/report/histogram.h"
#include "benchmarks/hadal_bench/workload/lengths.h"

namespace hadal::sim {
namespace {

using nlohmann::json;

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }
double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

json Percentiles(const bench::Histogram& seconds) {
  if (seconds.count() == 0) return nullptr;
  return {{"mean", seconds.MeanSeconds()},
          {"p50", seconds.QuantileSeconds(0.5)},
          {"p90", seconds.QuantileSeconds(0.9)},
          {"p99", seconds.QuantileSeconds(0.99)},
          {"max", seconds.MaxSeconds()}};
}

bool Finished(const Outcome& outcome) { return outcome.finished != absl::InfiniteDuration(); }
bool Admitted(const Outcome& outcome) { return outcome.admitted != absl::InfiniteDuration(); }
absl::Duration Ttft(const Outcome& outcome) { return outcome.first_token - outcome.admitted; }

bool Meets(const Outcome& outcome, const ServiceLevel& level) {
  if (!Finished(outcome)) return false;
  const int32_t gaps = std::max(outcome.call.output_tokens - 1, 1);
  return Ttft(outcome) <= level.ttft && (outcome.finished - outcome.first_token) / gaps <= level.tpot;
}

// Calls of one priority class or tenant.
struct Group {
  int64_t calls = 0, admitted = 0, finished = 0, good = 0, prompt = 0, tries = 0;
  bench::Histogram ttft, ttft_from_first_try, gaps;
};

json GroupJson(const Group& group) {
  return {{"calls", group.calls},
          {"admitted_ratio", Ratio(group.admitted, group.calls)},
          {"success_ratio", Ratio(group.finished, group.calls)},
          {"within_slo_ratio", Ratio(group.good, group.calls)},
          {"in_time_from_first_try_ratio", Ratio(group.prompt, group.calls)},
          {"tries_per_served", Ratio(group.tries, group.finished)},
          {"ttft_s", Percentiles(group.ttft)},
          {"ttft_from_first_try_s", Percentiles(group.ttft_from_first_try)},
          {"itl_s", Percentiles(group.gaps)}};
}

void Count(const Outcome& outcome, const ServiceLevel& level, Group& group) {
  group.calls += 1;
  group.tries += outcome.tries;
  group.admitted += Admitted(outcome);
  group.good += Meets(outcome, level);
  if (!Finished(outcome)) return;
  group.finished += 1;
  group.prompt += outcome.first_token - outcome.call.arrival <= level.ttft;
  group.ttft.AddSeconds(Seconds(Ttft(outcome)));
  group.ttft_from_first_try.AddSeconds(Seconds(outcome.first_token - outcome.call.arrival));
  for (const float gap_s : outcome.gaps_s) group.gaps.AddSeconds(gap_s);
}

// Of the calls that came back when they were told to: how many were let in at once.
json Returns(const std::vector<const Outcome*>& outcomes) {
  int64_t returned = 0, admitted = 0, refused_for_good = 0;
  int max_tries = 0;
  bench::Histogram hints;
  for (const Outcome* outcome : outcomes) {
    for (const Refusal& refusal : outcome->refusals) {
      if (refusal.hint != absl::InfiniteDuration()) hints.AddSeconds(Seconds(refusal.hint));
    }
    max_tries = std::max(max_tries, outcome->tries);
    if (outcome->tries < 2) continue;
    returned += 1;
    admitted += outcome->refusals.size() == 1;
    refused_for_good += !Finished(*outcome);
  }
  return {{"returned", returned},
          {"admitted_at_first_return_ratio", Ratio(admitted, returned)},
          {"gave_up", refused_for_good},
          {"max_tries", max_tries},
          {"hint_s", Percentiles(hints)}};
}

// Of the refusals with a promise, while the load lasts: afterwards everybody is let in. A caller that obeys returns
// within its window, one round trip after the time told.
json Promises(const std::vector<const Outcome*>& outcomes, absl::Duration end) {
  int64_t made = 0, returned = 0, admitted = 0, served = 0, tries = 0;
  for (const Outcome* outcome : outcomes) {
    if (Finished(*outcome) && outcome->admitted < end) {
      served += 1;
      tries += outcome->tries;
    }
    for (size_t i = 0; i < outcome->refusals.size(); ++i) {
      const Refusal& refusal = outcome->refusals[i];
      made += refusal.promised;
      const bool returns = static_cast<size_t>(outcome->tries) > i + 1 && refusal.at + refusal.hint < end;
      if (!refusal.promised || !returns) continue;
      returned += 1;
      admitted += outcome->refusals.size() == i + 1;
    }
  }
  return {{"made", made},         {"returned", returned},
          {"admitted", admitted}, {"admitted_ratio", returned > 0 ? json(Ratio(admitted, returned)) : json()},
          {"served", served},     {"tries_of_served_mean", served > 0 ? json(Ratio(tries, served)) : json()}};
}

// [bound, estimates that were off by at most that]: sums over seeds are of the same form. The last bound is null.
json EstimateErrors(const Verdicts& verdicts) {
  json out = json::array();
  for (const auto& [bound, count] : verdicts.estimate_errors) {
    out.push_back({std::isfinite(bound) ? json(bound) : json(), count});
  }
  return out;
}

}  // namespace

double AttainableTokensPerSecond(const RunResult& result, double tokens_per_s, absl::Duration ttft,
                                 absl::Duration warm_up, absl::Duration end) {
  absl::Duration idle_at;  // when all work that was let in is done
  double tokens = 0;
  for (const Outcome& outcome : result.outcomes) {
    const Call& call = outcome.call;
    if (idle_at - call.arrival > ttft) continue;
    idle_at = std::max(idle_at, call.arrival) + absl::Seconds((call.prompt_tokens + call.output_tokens) / tokens_per_s);
    if (idle_at >= warm_up && idle_at < end) tokens += call.prompt_tokens + call.output_tokens;
  }
  return tokens / Seconds(end - warm_up);
}

std::string ReportJson(const Experiment& experiment, const RunResult& result, const ServiceLevel& level,
                       absl::Duration warm_up, double peak_tokens_per_s) {
  const absl::Duration end = experiment.workload.duration();
  const double window = Seconds(end - warm_up);
  std::vector<const Outcome*> counted;
  double offered_tokens = 0, good_tokens = 0, served_tokens = 0, late_tokens = 0;
  int64_t good = 0;
  std::map<std::string, std::pair<int64_t, int64_t>> lengths;  // calls, admitted
  std::map<std::string, int64_t> reasons;
  std::array<Group, request::kNumPriorities> classes;
  std::map<std::string, Group> tenants;
  Group all;
  absl::Duration last_miss = absl::ZeroDuration();  // arrival of the last admitted call that missed its level
  for (const Outcome& outcome : result.outcomes) {
    const Call& call = outcome.call;
    const double tokens = call.prompt_tokens + call.output_tokens;
    if (Finished(outcome) && outcome.finished >= warm_up && outcome.finished < end) {
      served_tokens += tokens;
      (Meets(outcome, level) ? good_tokens : late_tokens) += tokens;
      good += Meets(outcome, level);
    }
    if (call.arrival < warm_up) continue;
    counted.push_back(&outcome);
    offered_tokens += tokens;
    if (Admitted(outcome) && !Meets(outcome, level)) last_miss = std::max(last_miss, outcome.admitted);
    auto& [calls, admitted] = lengths[bench::kLengthClasses[bench::LengthClassOf(call.prompt_tokens)].name];
    calls += 1;
    admitted += Admitted(outcome) && outcome.tries == 1;
    for (const Refusal& refusal : outcome.refusals) ++reasons[std::string(request::ReasonName(refusal.reason))];
    Count(outcome, level, classes[static_cast<size_t>(call.priority)]);
    if (!call.tenant.empty()) Count(outcome, level, tenants[call.tenant]);
    Count(outcome, level, all);
  }

  json report = {
      {"device", experiment.device.name},
      {"seed", experiment.seed},
      {"calls", counted.size()},
      {"offered_requests_per_s", static_cast<double>(counted.size()) / window},
      {"offered_tokens_per_s", offered_tokens / window},
      {"served_tokens_per_s", served_tokens / window},
      {"goodput_tokens_per_s", good_tokens / window},
      {"goodput_requests_per_s", static_cast<double>(good) / window},
      {"late_tokens_ratio", Ratio(late_tokens, served_tokens)},
      {"device_busy_ratio", Ratio(Seconds(result.busy), Seconds(result.duration))},
      {"step_ms", Ratio(absl::ToDoubleMilliseconds(result.busy), static_cast<double>(result.steps))},
      {"waiting_high_water", result.waiting_high_water},
      {"running_high_water", result.running_high_water},
      {"preemptions", result.preemptions},
      {"set_aside", result.set_aside},
      {"recomputed_ratio",
       Ratio(static_cast<double>(result.recomputed_tokens), static_cast<double>(result.computed_tokens))},
      {"prefix_hit_ratio",
       Ratio(static_cast<double>(result.prefix_hit_tokens), static_cast<double>(result.prompt_tokens))},
      {"output_quantile", result.output_quantile},
      {"ghosts", result.verdicts.ghosts},
      {"false_refusals", result.verdicts.false_refusals},
      {"last_miss_s", Seconds(last_miss)},
      {"returns", Returns(counted)},
      {"promises", Promises(counted, end)},
      {"estimate_errors", EstimateErrors(result.verdicts)},
      {"under_load",
       {{"ghosts", result.verdicts_under_load.ghosts},
        {"false_refusals", result.verdicts_under_load.false_refusals},
        {"estimate_errors", EstimateErrors(result.verdicts_under_load)}}},
      {"all", GroupJson(all)},
  };
  if (peak_tokens_per_s > 0) {
    const double attainable = AttainableTokensPerSecond(result, peak_tokens_per_s, level.ttft, warm_up, end);
    report["attainable_tokens_per_s"] = attainable;
    report["goodput_of_attainable_ratio"] = Ratio(good_tokens / window, attainable);
  }
  double lowest = 1, highest = 0;
  for (const auto& [name, counts] : lengths) {
    const double rate = Ratio(counts.second, counts.first);
    report["admission_by_prompt_tokens"][name] = {{"calls", counts.first}, {"admitted_ratio", rate}};
    if (counts.first < 50) continue;  // too few to speak of a rate
    lowest = std::min(lowest, rate);
    highest = std::max(highest, rate);
  }
  report["admission_evenness_ratio"] = Ratio(lowest, highest);
  report["refusals"] = reasons;
  for (int rank = 0; rank < request::kNumPriorities; ++rank) {
    if (classes[rank].calls > 0)
      report["classes"][std::string(request::kPriorityNames[rank])] = GroupJson(classes[rank]);
  }
  for (const auto& [name, group] : tenants) report["tenants"][name] = GroupJson(group);
  return report.dump();
}

void WriteCalls(const RunResult& result, uint64_t seed, std::ostream& out) {
  const auto at = [](absl::Duration since_start) -> json {
    if (since_start == absl::InfiniteDuration()) return nullptr;
    return Seconds(since_start);
  };
  for (const Outcome& outcome : result.outcomes) {
    const Call& call = outcome.call;
    json line = {{"seed", seed},
                 {"arrival_s", Seconds(call.arrival)},
                 {"class", request::kPriorityNames[static_cast<size_t>(call.priority)]},
                 {"tenant", call.tenant},
                 {"prompt_tokens", call.prompt_tokens},
                 {"output_tokens", call.output_tokens},
                 {"tries", outcome.tries},
                 {"admitted_s", at(outcome.admitted)},
                 {"first_token_s", at(outcome.first_token)},
                 {"finished_s", at(outcome.finished)},
                 {"refusals", json::array()}};
    for (const Refusal& refusal : outcome.refusals) {
      line["refusals"].push_back({{"at_s", Seconds(refusal.at)},
                                  {"reason", request::ReasonName(refusal.reason)},
                                  {"hint_s", at(refusal.hint)}});
    }
    out << line.dump() << '\n';
  }
}

}  // namespace hadal::sim
