// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "benchmarks/hadal_bench/bench_options.h"
#include "benchmarks/hadal_bench/report/result_text.h"
#include "benchmarks/hadal_bench/session.h"
#include "server/base/strings.h"

namespace {

using hadal::bench::BenchOptions;
using hadal::bench::FileFacts;
using hadal::bench::Session;

constexpr char kUsage[] =
    "hadal-bench: open-loop load for any OpenAI-compatible server\n"
    "\n"
    "Requests are started at times drawn in advance, whatever the server does, and latency counts from those times. "
    "Answers without content, cut\n"
    "off or with an error are failures, however fast. Start the server, then:\n"
    "\n"
    "  hadal-bench --url http://127.0.0.1:8000 --rate 5                   chat prompts of the Azure lengths at 5/s for "
    "a minute\n"
    "  hadal-bench --rate 20 --lengths 128:64 --slo ttft=500,tpot=50      fixed lengths and your own service level\n"
    "  hadal-bench --rate 7,30@20,7@40 --json storm.json                  a storm of 20 seconds, figures in a file\n"
    "\n"
    "A plain run is no capacity test: raise --rate until the goodput stops following. Ctrl-C ends a run and prints "
    "what it has.";

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "hadal-bench: %s\n", std::string(status.message()).c_str());
  return code;
}

// Thousands of connections need as many descriptors.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  return out ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
}

int Run(const std::vector<std::string>& args) {
  BenchOptions options;
  hadal::base::FlagSet flags({.prefix = "HADAL_BENCH_", .others = {}});
  options.AddFlags(&flags);
  const auto parsed = flags.Parse(kUsage, args);
  if (!parsed.ok()) return Fail(parsed.status(), 2);
  if (!parsed->help.empty()) return std::fputs(parsed->help.c_str(), stdout), 0;
  if (parsed->print_config) return std::fputs(parsed->ToToml().c_str(), stdout), 0;
  if (absl::Status status = options.Resolve(); !status.ok()) return Fail(status, 2);
  RaiseDescriptorLimit();

  FileFacts facts{.mode = "run", .settings = hadal::bench::ReportedSettings(*parsed)};
  facts.workload = options.trace.empty() ? absl::StrCat(options.mix.name, ": ", options.mix.origin)
                                         : absl::StrCat("trace ", options.trace);
  facts.date = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  const auto session = Session::Open(options);
  if (!session.ok()) return Fail(session.status(), 1);
  facts.model = (*session)->model();
  facts.server_version = (*session)->server_version();

  std::vector<nlohmann::ordered_json> runs;
  bool interrupted = false;
  for (int repetition = 0; repetition < options.runs && !interrupted; ++repetition) {
    const auto outcome = (*session)->Run(options.rate, repetition);
    if (!outcome.ok()) return Fail(outcome.status(), 2);
    interrupted = outcome->log.interrupted;
    runs.push_back(hadal::bench::RunToJson(outcome->report, outcome->log, outcome->facts));
    std::fputs(hadal::bench::RunText(runs.back()).c_str(), stdout);
    std::fflush(stdout);
  }
  const bool served = runs.back()["requests"]["served"] > 0;
  if (!options.json.empty()) {
    const auto file = hadal::bench::FileToJson(facts, std::move(runs));
    if (absl::Status status = WriteFile(options.json, hadal::bench::FileText(file)); !status.ok())
      return Fail(status, 1);
  }
  return interrupted ? 130 : served ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return Run(std::vector<std::string>(argv + 1, argv + argc)); }
