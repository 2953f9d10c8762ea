// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/simulation.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "benchmarks/hadal_bench/client/retry_policy.h"
#include "benchmarks/sim/countdown_model.h"
#include "benchmarks/sim/refusal_response.h"
#include "benchmarks/sim/sim_clock.h"
#include "server/admission/admission.h"
#include "server/base/check.h"
#include "server/base/metrics.h"
#include "server/batches/send_window.h"
#include "server/engine/engine_observer.h"
#include "server/engine/step_loop.h"

namespace hadal::sim {
namespace {

// A return takes the network's time, so that even who retries at once lets the server go on.
constexpr absl::Duration kRoundTrip = absl::Milliseconds(1);

// Of a refusal without a hint, until a line of a batch is sent again.
constexpr absl::Duration kUnknownRetry = absl::Seconds(1);

// Of a counter without labels in Prometheus text.
int64_t CounterValue(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n" + name + " ");
  HADAL_CHECK(at != std::string::npos) << "no metric " << name;
  return std::stoll(text.substr(at + name.size() + 2));
}

// The buckets of the metric of estimates, early and late ones added up.
std::vector<std::pair<double, int64_t>> EstimateErrors(const std::string& text) {
  constexpr absl::string_view kLine = "hadal_retry_after_error_ratio_bucket{side=\"";
  std::map<double, int64_t> counts;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, kLine)) continue;
    const std::vector<absl::string_view> bound = absl::StrSplit(line, absl::MaxSplits("le=\"", 1));
    const std::vector<absl::string_view> parts = absl::StrSplit(bound.at(1), "\"} ");
    double upper = 0;
    double count = 0;
    HADAL_CHECK(parts.size() == 2 && absl::SimpleAtod(parts[0], &upper) && absl::SimpleAtod(parts[1], &count)) << line;
    counts[upper] += static_cast<int64_t>(count);
  }
  HADAL_CHECK(!counts.empty()) << "no metric hadal_retry_after_error_ratio";
  return {counts.begin(), counts.end()};
}

Verdicts ReadVerdicts(base::MetricRegistry& registry) {
  const std::string metrics = registry.Expose();
  return {.ghosts = CounterValue(metrics, "hadal_retry_ghosts_total"),
          .false_refusals = CounterValue(metrics, "hadal_false_refusals_total"),
          .estimate_errors = EstimateErrors(metrics)};
}

// The callers and the server between them, on one thread. Callers act at events; the engine's steps move the clock,
// and events that fall into a step happen before its end, as they would on other threads.
class Simulation : private engine::EngineObserver {
 public:
  explicit Simulation(const Experiment& experiment)
      : experiment_(experiment),
        start_(clock_.Now()),
        random_(experiment.seed * 7919 + 17),
        line_random_(experiment.seed * 104729 + 3),
        pool_(experiment.lease_memory ? PoolBytes() : PoolBytes() * 1000),
        model_(experiment.device, [this](absl::Duration step) { RunEvents(clock_.Now() + step); }),
        window_(std::max(experiment.batch_lines, 1)) {}

  absl::Status Start();
  RunResult Finish();

 private:
  // A caller's next try.
  struct Event {
    absl::Time at;
    size_t call;
    bool operator>(const Event& other) const { return std::tie(at, call) > std::tie(other.at, other.call); }
  };

  int32_t PoolBlocks() const {
    return static_cast<int32_t>(experiment_.device.kv_pool_tokens / experiment_.device.block_tokens);
  }
  int64_t BlockBytes() const {
    return std::max<int64_t>(1, static_cast<int64_t>(experiment_.device.kv_bytes_per_token)) *
           experiment_.device.block_tokens;
  }
  int64_t PoolBytes() const { return PoolBlocks() * BlockBytes(); }
  absl::Duration SinceStart() const { return clock_.Now() - start_; }

  void OnStep(const engine::StepFacts& facts) override {
    result_.computed_tokens += facts.tokens;
    result_.running_high_water = std::max<int64_t>(result_.running_high_water, facts.sequences);
  }
  void OnPreempted(int32_t) override { ++result_.preemptions; }
  void OnSetAside(int32_t sequences) override { result_.set_aside += sequences; }
  void OnRecomputed(int32_t tokens) override { result_.recomputed_tokens += tokens; }
  void OnPrefixLookup(int32_t query, int32_t hit) override {
    result_.prompt_tokens += query;
    result_.prefix_hit_tokens += hit;
  }
  // Moves the clock to `until`, through all events on the way.
  void RunEvents(absl::Time until);
  void Try(size_t call);
  // As server/batches/batch_runner.h does, from a batch that is never done: as many lines as its window allows.
  void SendLines();
  bool SendsLines() const { return experiment_.batch_lines > 0 && SinceStart() < experiment_.workload.duration(); }
  bool IsLine(size_t call) const { return call >= callers_; }
  Call Limited(Call call) const;
  // How much later than it was told a caller returns.
  absl::Duration Lateness();
  admission::RetryCaller ReturningCaller(size_t call) const;
  absl::Status Admit(size_t call);
  // Admission said no, at once or by taking the call out of the queue: its caller decides what to do.
  void Refused(size_t call, const absl::Status& status);
  void ReadStreams();

  const Experiment& experiment_;
  SimClock clock_;
  const absl::Time start_;
  std::mt19937_64 random_, line_random_;
  base::MetricRegistry metrics_;
  admission::KvPoolLedger pool_;
  CountdownModel model_;
  std::unique_ptr<admission::AdmissionController> admission_;
  engine::EngineOptions engine_options_;
  std::shared_ptr<request::WakeSignal> wake_ = std::make_shared<request::WakeSignal>();
  std::unique_ptr<engine::StepLoop> loop_;
  std::unique_ptr<bench::RetryPolicy> client_;

  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<Outcome> outcomes_;
  std::vector<std::shared_ptr<request::TokenStream>> streams_;  // [calls]
  std::vector<size_t> readable_;                                // calls
  size_t open_ = 0;                                             // calls without an outcome
  size_t callers_ = 0;                                          // calls that are no lines: the first ones
  absl::Time caller_came_ = absl::InfinitePast();
  batches::SendWindow window_;
  int lines_in_flight_ = 0;
  RunResult result_;
};

absl::Status Simulation::Start() {
  absl::StatusOr<std::unique_ptr<bench::RetryPolicy>> client =
      bench::MakeRetryPolicy(experiment_.client, experiment_.max_tries);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  admission::AdmissionOptions options = experiment_.admission;
  options.clock = &clock_;
  options.seed = experiment_.seed;
  options.metrics = &metrics_;
  absl::StatusOr<std::unique_ptr<admission::AdmissionController>> admission =
      admission::AdmissionController::Create(std::move(options));
  if (!admission.ok()) return admission.status();
  admission_ = *std::move(admission);
  const DeviceSpec& device = experiment_.device;
  const absl::StatusOr<int> index =
      admission_->AddModel({device.name, device.max_model_len, device.block_tokens, BlockBytes(), &pool_});
  if (!index.ok()) return index.status();

  engine_options_.clock = &clock_;
  engine_options_.num_blocks = PoolBlocks();
  engine_options_.block_tokens = device.block_tokens;
  engine_options_.max_batch_size = device.max_batch_size;
  engine_options_.max_batch_tokens = device.max_batch_tokens;
  engine_options_.step_time_target = experiment_.step_time_target;
  engine_options_.observer = this;
  if (absl::Status status = engine_options_.Validate(); !status.ok()) return status;
  loop_ = std::make_unique<engine::StepLoop>(engine_options_, &model_, admission_.get(), *index, wake_,
                                             std::make_shared<engine::PublishedState>());
  admission_->SetReady();

  std::vector<Call> calls = DrawCalls(experiment_.workload, experiment_.seed);
  outcomes_.resize(calls.size());
  streams_.resize(calls.size());
  open_ = callers_ = calls.size();
  for (size_t i = 0; i < calls.size(); ++i) {
    events_.push({start_ + calls[i].arrival, i});
    outcomes_[i].call = Limited(std::move(calls[i]));
  }
  return absl::OkStatus();
}

Call Simulation::Limited(Call call) const {
  call.output_tokens = std::min(call.output_tokens, experiment_.max_tokens);
  call.prompt_tokens = std::min(call.prompt_tokens, experiment_.device.max_model_len - experiment_.max_tokens);
  call.shared_tokens = std::min(call.shared_tokens, call.prompt_tokens - 1);
  return call;
}

void Simulation::SendLines() {
  std::uniform_real_distribution<double> uniform;
  const bool others = clock_.Now() - caller_came_ < batches::SendWindow::kLately;
  while (SendsLines() && window_.MayStart(lines_in_flight_, clock_.Now(), others)) {
    Outcome& line = outcomes_.emplace_back();
    streams_.emplace_back();
    const bench::LengthMix& lengths = experiment_.workload.lengths;
    const auto scaled = [scale = experiment_.workload.length_limits.scale](int tokens) {
      return std::max(1, static_cast<int32_t>(std::lround(tokens * scale)));
    };
    line.call = Limited({.arrival = SinceStart(),
                         .priority = request::Priority::kBatch,
                         .prompt_tokens = scaled(lengths.prompt.Quantile(uniform(line_random_))),
                         .output_tokens = scaled(lengths.output.Quantile(uniform(line_random_)))});
    line.call.body_bytes = int64_t{4} * line.call.prompt_tokens + 120;
    ++open_;
    ++lines_in_flight_;
    Try(outcomes_.size() - 1);
  }
}

RunResult Simulation::Finish() {
  bool load_has_ended = false;
  while (open_ > 0) {
    if (!load_has_ended && SinceStart() >= experiment_.workload.duration()) {
      load_has_ended = true;
      result_.verdicts_under_load = ReadVerdicts(metrics_);
    }
    SendLines();
    const engine::StepLoop::Round round = loop_->RunOnce(wake_->Take());
    ReadStreams();
    if (round.progressed) continue;
    absl::Time next = std::min(round.wake_at, events_.empty() ? absl::InfiniteFuture() : events_.top().at);
    if (SendsLines() && window_.not_before() > clock_.Now()) next = std::min(next, window_.not_before());
    HADAL_CHECK(open_ == 0 || next != absl::InfiniteFuture()) << open_ << " calls never end";
    RunEvents(next);
  }
  HADAL_CHECK(pool_.leased_bytes() == 0 && admission_->GetLoad().waiting == 0) << "something did not go back";
  result_.duration = SinceStart();
  result_.outcomes = std::move(outcomes_);
  result_.busy = model_.busy();
  result_.steps = model_.steps();
  result_.output_quantile = admission_->output_quantile(0);
  result_.verdicts = ReadVerdicts(metrics_);
  if (!load_has_ended) result_.verdicts_under_load = result_.verdicts;
  return std::move(result_);
}

void Simulation::RunEvents(absl::Time until) {
  while (!events_.empty() && events_.top().at <= until) {
    const Event event = events_.top();
    events_.pop();
    clock_.AdvanceTo(event.at);
    Try(event.call);
  }
  clock_.AdvanceTo(until);
}

void Simulation::Try(size_t call) {
  Outcome& outcome = outcomes_[call];
  ++outcome.tries;
  if (const absl::Status status = Admit(call); !status.ok()) return Refused(call, status);
  if (!IsLine(call)) caller_came_ = clock_.Now();
  outcome.admitted = SinceStart();
}

void Simulation::Refused(size_t call, const absl::Status& status) {
  Outcome& outcome = outcomes_[call];
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  outcome.refusals.push_back(
      {SinceStart(), detail.reason, detail.retry_after.value_or(absl::InfiniteDuration()), detail.promised});
  if (IsLine(call)) {  // another one is sent in its place
    window_.OnRefusal(start_ + outcome.call.arrival, clock_.Now(), detail.retry_after.value_or(kUnknownRetry));
    outcome.failure = status;
    --lines_in_flight_;
    --open_;
    return;
  }
  const Protocol protocol = experiment_.client == "grpc" ? Protocol::kGrpc : Protocol::kHttp;
  const std::optional<double> wait = client_->NextDelay(RefusalResponse(status, protocol), outcome.tries, random_);
  if (wait.has_value()) {
    events_.push({clock_.Now() + absl::Seconds(*wait) + kRoundTrip + Lateness(), call});
    return;
  }
  outcome.failure = status;
  --open_;
}

absl::Duration Simulation::Lateness() {
  if (experiment_.lateness == absl::ZeroDuration()) return absl::ZeroDuration();
  return experiment_.lateness * std::exponential_distribution<double>()(random_);
}

admission::RetryCaller Simulation::ReturningCaller(size_t call) const {
  using admission::KeyQuality;
  const Outcome& outcome = outcomes_[call];
  const int32_t attempt = outcome.tries - 1;
  const auto length = static_cast<uint64_t>(outcome.call.body_bytes);
  switch (experiment_.known_by) {
    case KnownBy::kKey:
      return {.key = call + 1, .quality = KeyQuality::kOwn, .attempt = attempt};
    case KnownBy::kAttempt:
      return {.key = length, .quality = attempt == 0 ? KeyQuality::kFirst : KeyQuality::kRetry, .attempt = attempt};
    case KnownBy::kLength:
      return {.key = length};
    case KnownBy::kNothing:
      return {.key = 1};
    case KnownBy::kRetry:
      return {.key = 1, .quality = attempt == 0 ? KeyQuality::kShared : KeyQuality::kRetry, .attempt = attempt};
  }
  return {};
}

absl::Status Simulation::Admit(size_t call) {
  const Call& wanted = outcomes_[call].call;
  admission::AdmissionRequest arrival;
  arrival.priority = wanted.priority;
  arrival.tenant = wanted.tenant;
  arrival.request_id = std::to_string(call);
  arrival.body_bytes = wanted.body_bytes;
  // As the fronts know a caller (service/returning_client): by sender and length. A tenant is one sender; others are
  // users with an address of their own.
  const std::string sender = wanted.tenant.empty() ? arrival.request_id : wanted.tenant;
  arrival.retry.key = std::hash<std::string>()(sender + "|" + std::to_string(wanted.body_bytes));
  if (experiment_.client == "obey" || experiment_.client == "urllib3") arrival.retry = ReturningCaller(call);
  absl::StatusOr<admission::Ticket> ticket = admission_->TryAdmit(arrival);
  if (!ticket.ok()) return ticket.status();

  auto request = std::make_unique<request::Request>();
  request->id = arrival.request_id;
  request->tenant = wanted.tenant;
  request->priority = wanted.priority;
  request->arrival = clock_.Now();
  request->prompt.assign(wanted.shared_tokens, 1);
  // No two calls share more than that.
  request->prompt.resize(wanted.prompt_tokens, 2 + static_cast<int32_t>(call % (CountdownModel::kMaxOutputTokens - 2)));
  request->prompt.back() = wanted.output_tokens;
  request->max_tokens = experiment_.max_tokens;
  request->stop_token_ids = {CountdownModel::kEndToken};
  auto notifier = std::make_shared<request::Notifier>([this, call] { readable_.push_back(call); });
  request->stream = std::make_shared<request::TokenStream>(experiment_.max_tokens + 2, std::move(notifier));
  std::shared_ptr<request::TokenStream> stream = request->stream;
  if (absl::Status status = ticket->Finalize(*request, 0); !status.ok()) return status;
  if (absl::Status status = admission_->Enqueue(0, std::move(request), *std::move(ticket)); !status.ok()) return status;
  streams_[call] = std::move(stream);
  result_.waiting_high_water = std::max(result_.waiting_high_water, admission_->QueuedRequests(0));
  return absl::OkStatus();
}

void Simulation::ReadStreams() {
  // Reading wakes nobody, so the list does not grow meanwhile.
  for (const size_t call : readable_) {
    if (streams_[call] == nullptr) continue;
    Outcome& outcome = outcomes_[call];
    const request::StreamBatch batch = streams_[call]->Read();
    if (!batch.tokens.empty() || !batch.ends.empty()) outcome.first_token = std::min(outcome.first_token, SinceStart());
    if (!batch.tokens.empty()) {
      const absl::Duration now = SinceStart();
      if (outcome.last_token != absl::InfiniteDuration()) {
        outcome.gaps_s.push_back(static_cast<float>(absl::ToDoubleSeconds(now - outcome.last_token)));
      }
      outcome.last_token = now;
    }
    if (!batch.closed) continue;
    streams_[call].reset();
    if (!batch.status.ok() && !batch.started) {
      Refused(call, batch.status);
      continue;
    }
    outcome.failure = batch.status;
    if (batch.status.ok()) {
      outcome.finished = SinceStart();
      if (!IsLine(call)) client_->OnServed();
    }
    if (IsLine(call)) {
      window_.OnAnswer();
      --lines_in_flight_;
    }
    --open_;
  }
  readable_.clear();
}

}  // namespace

absl::StatusOr<RunResult> Simulate(const Experiment& experiment) {
  Simulation simulation(experiment);
  if (absl::Status status = simulation.Start(); !status.ok()) return status;
  return simulation.Finish();
}

}  // namespace hadal::sim
