// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "benchmarks/hadal_bench/bench_options.h"
#include "benchmarks/hadal_bench/commands.h"
#include "benchmarks/hadal_bench/report/capacity_search.h"
#include "benchmarks/hadal_bench/report/html_page.h"
#include "benchmarks/hadal_bench/report/result_text.h"
#include "benchmarks/hadal_bench/session.h"

namespace hadal::bench {
namespace {

constexpr double kCapacityPrecision = 0.05;
constexpr int kCapacityPoints = 20;

constexpr char kIntroduction[] =
    R"(hadal-bench: open-loop load for any OpenAI-compatible server

Requests are started at times drawn in advance, whatever the server does, and latency counts from those times.
Answers without content, cut off or with an error are failures, however fast. Start the server, then:

  hadal-bench --url http://127.0.0.1:8000 --rate 5 --html page.html   the Azure lengths at 5/s for a minute
  hadal-bench --rate 20 --lengths 128:64 --slo ttft=500,tpot=50       fixed lengths and your own service level
  hadal-bench --url grpc://127.0.0.1:8000 --lengths thinking          over hadal's gRPC API, long outputs
  hadal-bench --find-capacity --json capacity.json                    the highest rate that meets the service level
  hadal-bench --sweep 10,20,50,100 --html curve.html                  goodput against offered load
  hadal-bench --rate 7,30@20,7@40 --client text                       a storm of 20 seconds of impatient clients
  hadal-bench compare a.json b.json --html ab.html                    what changed, with confidence intervals

Ctrl-C ends a run and prints what it has.

)";

constexpr char kGlossary[] = R"(
What is printed:
  TTFT          from the scheduled time to the first piece of content, waiting and retries included
  ITL, TPOT     gaps between pieces of content; (end - first piece) / (output tokens - 1), one value a request
  goodput       requests, and prompt and output tokens, per second of requests that met every limit of --slo
  by length     admitted (served) and in the service level, by prompt length: a fast server may refuse long prompts
  Retry-After   returns no earlier than told: how many were admitted, and how far the hint was off
  lag           how late hadal-bench itself began requests: give it a core of its own

Every flag is also a variable (HADAL_BENCH_RATE=5) and a key of a --config file.
Exit status: 0 something was served, 1 nothing was or the server cannot be used, 2 a flag is wrong, 130 interrupted.
)";

// Thousands of connections need as many descriptors. Where the system gives fewer, calls wait for a connection, which
// is counted, and do not fail.
void LimitConnections(bool grpc, int* max_connections) {
  constexpr rlim_t kOwn = 40;  // files, the loop, gRPC
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t room = limit.rlim_max > kOwn ? limit.rlim_max - kOwn : 1;
  if (grpc || room >= static_cast<rlim_t>(*max_connections)) return;
  std::fprintf(stderr, "hadal-bench: the limit of %llu open files (ulimit -n) leaves %llu of --max-connections %d\n",
               static_cast<unsigned long long>(limit.rlim_max), static_cast<unsigned long long>(room),
               *max_connections);
  *max_connections = static_cast<int>(room);
}

std::string RateText(double rate) {
  return rate >= 1000 ? absl::StrFormat("%.0f", rate) : absl::StrFormat("%.4g", rate);
}

// The runs of one command, collected for its file.
class Runs {
 public:
  Runs(Session* session, const BenchOptions& options) : session_(session), options_(options) {}

  // One run; the share of its requests within the service level. Prints it.
  absl::StatusOr<double> Add(const std::string& rate, int repetition) {
    const auto outcome = session_->Run(rate, repetition);
    if (!outcome.ok()) return outcome.status();
    interrupted_ = outcome->log.interrupted;
    served_ += outcome->report.all.served;
    json_.push_back(RunToJson(outcome->report, outcome->log, outcome->facts));
    std::fputs(RunText(json_.back()).c_str(), stdout);
    std::fflush(stdout);
    return outcome->report.all.SloRatio();
  }

  absl::Status Repeat() {
    for (int repetition = 0; repetition < options_.runs && !interrupted_; ++repetition) {
      if (options_.runs > 1) std::printf("--- run %d of %d\n", repetition + 1, options_.runs);
      if (const auto met = Add(options_.rate, repetition); !met.ok()) return met.status();
    }
    return absl::OkStatus();
  }

  absl::Status Sweep() {
    for (size_t i = 0; i < options_.sweep.size() && !interrupted_; ++i) {
      std::printf("--- %s requests/s (%zu of %zu)\n", options_.sweep[i].c_str(), i + 1, options_.sweep.size());
      if (const auto met = Add(options_.sweep[i], 0); !met.ok()) return met.status();
    }
    return absl::OkStatus();
  }

  absl::Status FindCapacity() {
    double start = 0;
    if (!absl::SimpleAtod(options_.rate, &start)) return absl::InternalError("Resolve lets no other rate pass");
    CapacitySearch search(start, kCapacityPrecision, kCapacityPoints);
    while (const std::optional<double> rate = interrupted_ ? std::nullopt : search.NextRate()) {
      std::printf("--- %s requests/s\n", RateText(*rate).c_str());
      const auto ratio = Add(absl::StrCat(*rate), 0);
      if (!ratio.ok()) return ratio.status();
      if (interrupted_) break;
      search.Add(*rate, *ratio >= options_.attain);
      std::printf("%.1f%% within %s: %s\n", 100 * *ratio, options_.slos.front().Text().c_str(),
                  *ratio >= options_.attain ? "met" : "not met");
    }
    capacity_ = search.capacity();
    std::printf("=== capacity %s requests/s: %.0f%% of requests within %s%s\n", RateText(capacity_).c_str(),
                100 * options_.attain, options_.slos.front().Text().c_str(),
                search.bounded() ? "" : "; no higher rate was seen to fail");
    if (GeneratorLimited()) {
      std::printf(
          "warning: hadal-bench used most of a core at a rate that failed: it may be the limit, not the server\n");
    }
    return absl::OkStatus();
  }

  // Whether a point that was not met may be so for lack of processor time here.
  bool GeneratorLimited() const {
    return std::any_of(json_.begin(), json_.end(), [&](const auto& run) {
      const auto& metrics = run["metrics"];
      return metrics["slo_ratio"].template get<double>() < options_.attain &&
             metrics["generator_cpu_ratio"].template get<double>() > 0.8;
    });
  }

  // What a curve as a whole says.
  void AddCurveMetrics(nlohmann::ordered_json* file) const {
    double peak = 0;
    for (const auto& run : json_) peak = std::max(peak, run["metrics"]["goodput_tokens_per_s"].get<double>());
    (*file)["metrics"]["peak_goodput_tokens_per_s"] = peak;
    if (options_.find_capacity) (*file)["metrics"]["capacity_requests_per_s"] = std::round(capacity_ * 1000) / 1000;
  }

  const std::vector<nlohmann::ordered_json>& json() const { return json_; }
  bool interrupted() const { return interrupted_; }
  bool served() const { return served_ > 0; }

 private:
  Session* const session_;
  const BenchOptions& options_;
  std::vector<nlohmann::ordered_json> json_;
  bool interrupted_ = false;
  int64_t served_ = 0;
  double capacity_ = 0;
};

FileFacts FactsOf(const BenchOptions& options, const base::ParsedFlags& parsed, const Session& session) {
  FileFacts facts;
  facts.mode = options.find_capacity ? "find-capacity" : options.sweep.empty() ? "run" : "sweep";
  facts.settings = ReportedSettings(parsed);
  facts.workload = options.trace.empty() ? absl::StrCat(options.mix.name, ": ", options.mix.origin)
                                         : absl::StrCat("trace ", options.trace);
  facts.model = session.model();
  facts.server_version = session.server_version();
  facts.calibration_calls = session.calibration_calls();
  facts.date = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  return facts;
}

}  // namespace

int RunCommand(const std::vector<std::string>& args) {
  BenchOptions options;
  base::FlagSet flags({.prefix = "HADAL_BENCH_", .others = {}});
  options.AddFlags(&flags);
  const auto parsed = flags.Parse("hadal-bench", args);
  if (!parsed.ok()) return FailWith(parsed.status(), 2);
  if (!parsed->help.empty()) {
    std::printf("%s%s%s", kIntroduction, parsed->help.c_str(), kGlossary);
    return 0;
  }
  if (parsed->print_config) return std::fputs(parsed->ToToml().c_str(), stdout), 0;
  if (absl::Status status = options.Resolve(); !status.ok()) return FailWith(status, 2);
  LimitConnections(options.target.grpc(), &options.max_connections);

  const auto session = Session::Open(options);
  if (!session.ok()) return FailWith(session.status(), 1);
  if (const int64_t left = (*session)->trace_left_out(); left > 0) {
    std::printf("trace: %lld requests lie behind --duration %s and are left out\n", static_cast<long long>(left),
                absl::FormatDuration(options.duration).c_str());
  }
  const FileFacts facts = FactsOf(options, *parsed, **session);
  Runs runs(session->get(), options);
  const absl::Status status = options.find_capacity   ? runs.FindCapacity()
                              : options.sweep.empty() ? runs.Repeat()
                                                      : runs.Sweep();
  if (!status.ok()) return FailWith(status, 2);

  auto file = FileToJson(facts, runs.json());
  if (facts.mode != "run") runs.AddCurveMetrics(&file);
  if (!options.json.empty()) {
    if (absl::Status written = WriteText(options.json, FileText(file)); !written.ok()) return FailWith(written, 1);
    std::printf("result: %s\n", options.json.c_str());
  }
  if (!options.html.empty()) {
    const std::string page = HtmlPage({{facts.model, &file}}, nullptr);
    if (absl::Status written = WriteText(options.html, page); !written.ok()) return FailWith(written, 1);
    std::printf("page: %s\n", options.html.c_str());
  }
  return runs.interrupted() ? 130 : runs.served() ? 0 : 1;
}

}  // namespace hadal::bench
