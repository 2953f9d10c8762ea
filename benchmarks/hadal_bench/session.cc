// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/session.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "absl/strings/str_cat.h"
#include "benchmarks/hadal_bench/client/grpc_transport.h"
#include "benchmarks/hadal_bench/client/http_transport.h"
#include "benchmarks/hadal_bench/client/retry_policy.h"
#include "benchmarks/hadal_bench/progress_line.h"
#include "benchmarks/hadal_bench/run/runner.h"

namespace hadal::bench {
namespace {

constexpr double kProbeTimeoutS = 10;

// One that --prompt-salt takes, and that no run has had before but by a very rare chance.
uint64_t NewSalt() { return 1 + std::random_device()() % (uint32_t{1} << 30); }

bool ShowsProgress(const BenchOptions& options) {
  return options.progress == ProgressMode::kAlways ||
         (options.progress == ProgressMode::kAuto && isatty(STDERR_FILENO) == 1);
}

}  // namespace

absl::Status Session::FindModel() {
  const std::string key = options_.tenants.empty() ? options_.api_key : options_.tenants.front().value;
  if (options_.target.grpc()) {
    const auto first = GrpcFirstModel(options_.target, key, options_.additions.headers, kProbeTimeoutS);
    if (absl::IsUnauthenticated(first.status())) {
      return absl::UnauthenticatedError(
          absl::StrCat("the server wants a key (", first.status().message(), "): give --api-key"));
    }
    if (!first.ok()) {
      return absl::UnavailableError(
          absl::StrCat("no hadal server answers gRPC at ", first.status().message(), "; is it running?"));
    }
    model_ = options_.model.empty() ? *first : options_.model;
    FindVersion(key);
    return absl::OkStatus();
  }
  const auto models =
      HttpGet(options_.target, options_.target.ModelsPath(), key, options_.additions.headers, kProbeTimeoutS);
  if (!models.ok()) {
    return absl::UnavailableError(absl::StrCat("no server answers at ", models.status().message(), "; is it running?"));
  }
  model_ = options_.model;
  if (model_.empty()) {
    if (models->status == 401 || models->status == 403) {
      return absl::UnauthenticatedError(
          absl::StrCat("the server wants a key (HTTP ", models->status, "): give --api-key"));
    }
    if (models->status / 100 == 3 && !models->location.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the server redirects to ", models->location, ", which --url should name"));
    }
    const auto first = models->status == 200 ? FirstModel(models->body)
                                             : absl::UnavailableError(absl::StrCat("HTTP ", models->status));
    if (!first.ok()) {
      return absl::FailedPreconditionError(absl::StrCat("cannot find a model with GET ", options_.target.ModelsPath(),
                                                        " (", first.status().message(), "): give --model"));
    }
    model_ = *first;
  }
  FindVersion(key);
  return absl::OkStatus();
}

Target Session::HttpTarget() const {
  Target target = options_.target;
  if (target.grpc()) target.scheme = target.tls() ? Scheme::kHttps : Scheme::kHttp;
  return target;
}

void Session::FindVersion(const std::string& key) {
  const auto version =
      HttpGet(HttpTarget(), options_.target.base_path + "/version", key, options_.additions.headers, kProbeTimeoutS);
  if (version.ok() && version->status == 200) server_version_ = version->body.substr(0, 200);
}

std::optional<ServerMetrics> Session::ReadServerMetrics() const {
  const std::string key = options_.tenants.empty() ? options_.api_key : options_.tenants.front().value;
  const auto answer =
      HttpGet(HttpTarget(), options_.target.base_path + "/metrics", key, options_.additions.headers, kProbeTimeoutS);
  if (!answer.ok() || answer->status != 200) return std::nullopt;
  return ParseServerMetrics(answer->body);
}

absl::Status Session::OpenTransport() {
  auto transport = options_.target.grpc() ? MakeGrpcTransport(&io_, {.target = options_.target,
                                                                     .api = options_.api,
                                                                     .model = model_,
                                                                     .headers = options_.additions.headers,
                                                                     .channels = options_.grpc_channels})
                                          : MakeHttpTransport(&io_, {.target = options_.target,
                                                                     .api = options_.api,
                                                                     .model = model_,
                                                                     .additions = options_.additions,
                                                                     .max_connections = options_.max_connections});
  if (!transport.ok()) return transport.status();
  transport_ = *std::move(transport);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const BenchOptions& options) {
  auto session = std::unique_ptr<Session>(new Session(options));
  if (!options.prompt_file.empty()) {
    auto prompts = Prompts::FromFile(options.prompt_file);
    if (!prompts.ok()) return prompts.status();
    session->prompts_ = *std::move(prompts);
  }
  if (!options.trace.empty()) {
    auto trace = ReadTrace(options.trace);
    if (!trace.ok()) return trace.status();
    session->trace_ = *std::move(trace);
  }
  if (absl::Status status = session->FindModel(); !status.ok()) return status;
  if (absl::Status status = session->OpenTransport(); !status.ok()) return status;
  const std::string key = options.tenants.empty() ? options.api_key : options.tenants.front().value;
  if (ShowsProgress(options)) {  // a model that is slow, or still loads, may take minutes
    std::fprintf(stderr, "two short answers of %s first, each within --timeout %s\n", session->model_.c_str(),
                 absl::FormatDuration(options.timeout).c_str());
  }
  auto calibration = Calibrate(&session->io_, session->transport_.get(), session->prompts_, options.exact_length, key,
                               absl::ToDoubleSeconds(options.timeout));
  if (!calibration.ok()) return calibration.status();
  session->calibration_ = *calibration;
  return session;
}

int64_t Session::trace_left_out() const {
  const double duration_s = absl::ToDoubleSeconds(options_.duration);
  return std::count_if(trace_.begin(), trace_.end(),
                       [&](const TraceEntry& entry) { return entry.at_s / options_.trace_speed >= duration_s; });
}

double Session::DurationSeconds() const {
  const double duration_s = absl::ToDoubleSeconds(options_.duration);
  if (trace_.size() < 2) return duration_s;
  // The gap after the last request is taken to be an average one.
  const double last_s = trace_.back().at_s / options_.trace_speed;
  const double end_s = last_s * static_cast<double>(trace_.size()) / static_cast<double>(trace_.size() - 1);
  return end_s > 0 ? std::min(duration_s, end_s) : duration_s;
}

absl::StatusOr<Plan> Session::MakePlan(const std::string& rate, uint64_t seed) const {
  const double duration_s = absl::ToDoubleSeconds(options_.duration);
  Plan plan;
  if (!trace_.empty()) {
    plan =
        PlanTrace(trace_, options_.trace_speed, duration_s, options_.limits, options_.classes, options_.tenants, seed);
  } else {
    const auto profile = RateProfile::Parse(rate, duration_s);
    if (!profile.ok()) return profile.status();
    ArrivalOptions arrivals = options_.arrivals;
    arrivals.seed = seed;
    plan = PlanArrivals(DrawArrivals(arrivals, *profile), options_.mix, options_.limits, options_.classes,
                        options_.tenants, seed);
  }
  if (plan.requests.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no request falls into ", absl::FormatDuration(options_.duration),
                                                   ": raise --rate or --duration, or try another --seed"));
  }
  return plan;
}

absl::StatusOr<Session::Outcome> Session::Run(const std::string& rate, int repetition) {
  const uint64_t seed = options_.arrivals.seed + static_cast<uint64_t>(repetition);
  const absl::StatusOr<Plan> plan = MakePlan(rate, seed);
  if (!plan.ok()) return plan.status();
  auto policy = MakeRetryPolicy(options_.client, options_.max_attempts);
  if (!policy.ok()) return policy.status();
  RunOptions run;
  run.warmup_s = absl::ToDoubleSeconds(options_.warmup);
  run.duration_s = DurationSeconds();
  if (run.warmup_s >= run.duration_s) {
    return absl::InvalidArgumentError(absl::StrCat("--warmup: ", absl::FormatDuration(options_.warmup),
                                                   " leaves nothing of the trace, which ends after ", run.duration_s,
                                                   " s"));
  }
  run.drain_s = absl::ToDoubleSeconds(options_.drain);
  run.timeout_s = absl::ToDoubleSeconds(options_.timeout);
  run.form = calibration_.form;
  run.api_key = options_.api_key;
  run.classes = options_.classes;
  run.tenants = options_.tenants;
  if (options_.deadline > absl::ZeroDuration()) run.deadline_ms = absl::ToInt64Milliseconds(options_.deadline);
  run.seed = seed;
  run.tickets = options_.brings_tickets();
  run.prompt_salt = options_.prompt_salt != 0 ? static_cast<uint64_t>(options_.prompt_salt) : NewSalt();
  ProgressLine line(ShowsProgress(options_));
  if (line.enabled()) run.progress = [&line](const RunProgress& progress) { line.Show(progress); };

  const std::optional<ServerMetrics> before = ReadServerMetrics();
  Outcome outcome;
  outcome.log = RunPlan(&io_, transport_.get(), policy->get(), prompts_, calibration_.scale, *plan, run);
  outcome.report = BuildReport(outcome.log, {.slos = options_.slos,
                                             .slo_from_attempt = options_.slo_from_attempt,
                                             .classes = options_.classes,
                                             .tenants = options_.tenants});
  outcome.facts = {.offered_rate = outcome.report.measured_s > 0
                                       ? static_cast<double>(outcome.report.all.offered) / outcome.report.measured_s
                                       : 0,
                   .tokens = calibration_.scale,
                   .exact_length = calibration_.form.exact_length,
                   .cut_lengths = plan->cut_lengths,
                   .prompt_salt = run.prompt_salt};
  const std::optional<ServerMetrics> after = before ? ReadServerMetrics() : std::nullopt;
  if (after) outcome.facts.server = MetricsBetween(*before, *after);
  return outcome;
}

}  // namespace hadal::bench
