// SPDX-License-Identifier: Apache-2.0
// Overload on a virtual clock: the server's own admission controller, queue and step loop, a roofline instead of a
// device, callers that arrive whatever the server does. Two minutes of a busy H200 take a second or two.
//
// Usage: hadal-sim [--device h200-7b] [--load 2] [--seeds 20] ...   (--help names everything)
// Prints one JSON object a seed and line. overload.py runs the tables of docs/overload.md.
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "benchmarks/hadal_bench/client/retry_policy.h"
#include "benchmarks/hadal_bench/workload/lengths.h"
#include "benchmarks/hadal_bench/workload/rate_profile.h"
#include "benchmarks/sim/report.h"
#include "benchmarks/sim/simulation.h"
#include "server/base/flag_set.h"
#include "server/base/strings.h"

namespace hadal::sim {
namespace {

struct Settings {
  std::string device = "h200-7b";
  std::string lengths = "azure-conversation";
  std::string policy = "hadal";
  std::string mix = "normal:1";
  std::string known_by = "key";
  std::string rate = "30";
  double load = 1;
  double cv = 1;
  absl::Duration duration = absl::Seconds(120);
  double peak_tokens_per_s = 0;
  int64_t kv_tokens = 0;
  int max_batch_size = 0;
  absl::Duration warm_up = absl::Seconds(20);
  int seeds = 1;
  int first_seed = 1;
  ServiceLevel level;
  std::string calls_file;
};

void AddNumber(base::FlagSet* flags, std::string name, double* target, std::string help) {
  flags->Add({.name = std::move(name),
              .help = std::move(help),
              .default_text = absl::StrCat(*target),
              .set =
                  [target](const std::string& text) {
                    double value = 0;
                    if (!absl::SimpleAtod(text, &value) || !(value > 0 && value < 1e12)) {
                      return absl::InvalidArgumentError(absl::StrCat("expected a number above 0, got \"", text, "\""));
                    }
                    *target = value;
                    return absl::OkStatus();
                  },
              .value_name = "NUMBER"});
}

// "high:0.1,normal:0.9" or "normal:0.1:quiet,normal:0.9:noisy": class, share, tenant.
absl::StatusOr<std::vector<CallerGroup>> ParseMix(const std::string& text) {
  std::vector<CallerGroup> groups;
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    const std::vector<std::string> fields = absl::StrSplit(part, ':');
    CallerGroup group;
    bool known = false;
    for (int rank = 0; rank < request::kNumPriorities; ++rank) {
      if (fields[0] != request::kPriorityNames[rank]) continue;
      group.priority = static_cast<request::Priority>(rank);
      known = true;
    }
    if (!known || fields.size() < 2 || fields.size() > 3 || !absl::SimpleAtod(fields[1], &group.share) ||
        !(group.share > 0)) {
      return absl::InvalidArgumentError(absl::StrCat("--mix: expected CLASS:SHARE[:TENANT],..., got \"", part, "\""));
    }
    if (fields.size() == 3) group.tenant = fields[2];
    groups.push_back(std::move(group));
  }
  return groups;
}

// The policies that other servers have, made of ours by taking out what makes the difference.
absl::Status ApplyPolicy(const std::string& name, Experiment* experiment) {
  if (name == "hadal") return absl::OkStatus();
  experiment->lease_memory = false;
  experiment->step_time_target = absl::ZeroDuration();
  experiment->admission.wait_limits.fill(absl::InfiniteDuration());
  for (CallerGroup& group : experiment->workload.groups) group.priority = request::Priority::kNormal;
  if (name == "fifo") {
    experiment->admission.max_queue_requests = std::numeric_limits<int>::max();
    return absl::OkStatus();
  }
  if (name == "fifo-bounded") {
    experiment->admission.max_queue_requests = 256;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no policy \"", name, "\"; there are hadal, fifo (unbounded) and fifo-bounded (256 waiting)"));
}

absl::StatusOr<KnownBy> ParseKnownBy(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames = {"key", "attempt", "length", "nothing", "retry"};
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--known-by: expected key, attempt, length, nothing or retry, got \"", base::View(name), "\""));
  }
  return static_cast<KnownBy>(found - kNames.begin());
}

absl::Status Named(const char* flag, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", status.message()));
}

absl::Status Main(const std::vector<std::string>& args) {
  Settings settings;
  Experiment experiment;
  base::FlagSet flags({.prefix = "HADAL_SIM_"});
  flags.AddText("device", &settings.device, "h200-7b, demo (the demo model on one core) or null-20ms");
  flags.AddText("lengths", &settings.lengths,
                absl::StrCat("tokens of prompts and outputs: PROMPT:OUTPUT or one of ",
                             absl::StrJoin(bench::LengthMixNames(), ", ")));
  AddNumber(&flags, "length-scale", &experiment.workload.length_limits.scale, "multiplies all lengths");
  flags.AddInt("max-prompt-tokens", &experiment.workload.length_limits.max_prompt_tokens,
               {1, std::numeric_limits<int>::max()}, "cut longer prompts to this", "none");
  flags.AddInt("shared-prefix", &experiment.workload.shared_prefix_tokens, {0, 1 << 20},
               "tokens with which every prompt begins, before those of --lengths");
  flags.AddInt("max-batch-size", &settings.max_batch_size, {0, 65536}, "sequences in a step; 0: the device's");
  flags.AddInt("kv-tokens", &settings.kv_tokens, {0, int64_t{1} << 40}, "tokens in the KV pool; 0: the device's");
  flags.AddText(
      "client", &experiment.client,
      absl::StrCat("what the refused do, as in hadal-bench: ", absl::StrJoin(bench::RetryPolicyNames(), ", ")));
  flags.AddInt("max-tries", &experiment.max_tries, {0, 1000},
               "tries of a caller, the first included; 0: as many as such a client makes");
  flags.AddText("known-by", &settings.known_by,
                "how the server knows a caller that obeys when it returns: key (an idempotency key), attempt (one "
                "address, attempts counted), length (one address), nothing (and bodies of one length), retry (as "
                "nothing, but further attempts say "
                "that they are)");
  flags.AddDuration("lateness", &experiment.lateness, "mean delay of a return after the moment that was told");
  flags.AddInt("batch-lines", &experiment.batch_lines, {0, 4096},
               "lines in flight of a batch (/v1/batches) that runs beside the callers; 0: there is none");
  flags.AddText("policy", &settings.policy, "hadal, fifo (unbounded, no leases) or fifo-bounded (256 requests)");
  flags.AddText("mix", &settings.mix, "who calls: CLASS:SHARE[:TENANT],...");
  flags.AddText("rate", &settings.rate,
                "requests a second at load 1: 30, in steps 20,80@40,20@50 (from second 40 on 80/s), or rising 5..50");
  AddNumber(&flags, "load", &settings.load, "multiple of --rate");
  AddNumber(&flags, "cv", &settings.cv, "coefficient of variation of the gaps; 1: Poisson, else gamma");
  AddNumber(&flags, "peak", &settings.peak_tokens_per_s,
            "best goodput at any load, tokens a second: adds what is attainable with these arrivals");
  flags.AddDuration("duration", &settings.duration, "of the arrivals");
  flags.AddDuration("warm-up", &settings.warm_up, "left out of the report");
  flags.AddDuration("slo-ttft", &settings.level.ttft, "time to the first token that counts as served in time");
  flags.AddDuration("slo-tpot", &settings.level.tpot, "time per further token that does");
  flags.AddInt("max-tokens", &experiment.max_tokens, {1, 16384}, "what callers ask for");
  flags.AddInt("seeds", &settings.seeds, {1, 1000}, "runs, each with the next seed");
  flags.AddInt("first-seed", &settings.first_seed, {0, 1 << 30}, "of the first run");
  flags.AddDuration("step-time-target", &experiment.step_time_target,
                    "the server's flag: how long a step may take with prompts in it while others decode; 0: any");
  flags.AddText("calls", &settings.calls_file,
                "also write what became of each call to this file, one JSON object a line", "none");
  experiment.admission.AddFlags(&flags);
  const absl::StatusOr<base::ParsedFlags> parsed = flags.Parse("hadal-sim", args);
  if (!parsed.ok()) return parsed.status();
  if (!parsed->help.empty() || parsed->print_config) {
    std::fputs((parsed->print_config ? parsed->ToToml() : parsed->help).c_str(), stdout);
    return absl::OkStatus();
  }
  if (settings.warm_up >= settings.duration) {
    return absl::InvalidArgumentError("--warm-up must be shorter than --duration");
  }
  absl::StatusOr<DeviceSpec> device = FindDevice(settings.device);
  if (!device.ok()) return device.status();
  absl::StatusOr<bench::LengthMix> lengths = bench::ParseLengthMix(settings.lengths);
  if (!lengths.ok()) return Named("lengths", lengths.status());
  const auto rate = bench::RateProfile::Parse(settings.rate, absl::ToDoubleSeconds(settings.duration));
  if (!rate.ok()) return Named("rate", rate.status());
  if (const auto client = bench::MakeRetryPolicy(experiment.client, 0); !client.ok()) {
    return Named("client", client.status());
  }
  absl::StatusOr<std::vector<CallerGroup>> groups = ParseMix(settings.mix);
  if (!groups.ok()) return groups.status();
  const absl::StatusOr<KnownBy> known_by = ParseKnownBy(settings.known_by);
  if (!known_by.ok()) return known_by.status();
  experiment.known_by = *known_by;
  experiment.device = *std::move(device);
  if (experiment.max_tokens >= experiment.device.max_model_len) {
    return absl::InvalidArgumentError(absl::StrCat("--max-tokens=", experiment.max_tokens, " must be below ",
                                                   experiment.device.max_model_len,
                                                   ", the context on --device=", experiment.device.name));
  }
  std::ofstream calls;
  if (!settings.calls_file.empty()) {
    calls.open(settings.calls_file);
    if (!calls) return absl::InvalidArgumentError(absl::StrCat("--calls: cannot write ", settings.calls_file));
  }
  if (settings.max_batch_size > 0) experiment.device.max_batch_size = settings.max_batch_size;
  if (settings.kv_tokens > 0) experiment.device.kv_pool_tokens = settings.kv_tokens;
  WorkloadSpec& workload = experiment.workload;
  workload.lengths = *std::move(lengths);
  workload.groups = *std::move(groups);
  workload.rate = rate->Scaled(settings.load);
  workload.arrivals.kind = settings.cv == 1 ? bench::ArrivalKind::kPoisson : bench::ArrivalKind::kGamma;
  workload.arrivals.cv = settings.cv;
  if (absl::Status status = ApplyPolicy(settings.policy, &experiment); !status.ok()) return status;
  for (int i = 0; i < settings.seeds; ++i) {
    experiment.seed = static_cast<uint64_t>(settings.first_seed + i);
    const absl::StatusOr<RunResult> result = Simulate(experiment);
    if (!result.ok()) return result.status();
    std::printf("%s\n",
                ReportJson(experiment, *result, settings.level, settings.warm_up, settings.peak_tokens_per_s).c_str());
    std::fflush(stdout);
    if (calls.is_open()) WriteCalls(*result, experiment.seed, calls);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace hadal::sim

int main(int argc, char** argv) {
  const absl::Status status = hadal::sim::Main(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::fprintf(stderr, "hadal-sim: %s\n", std::string(hadal::base::StdView(status.message())).c_str());
  return 2;
}
