// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/run/runner.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <unordered_set>
#include <utility>

#include "benchmarks/hadal_bench/run/cpu_time.h"

namespace hadal::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Timer = boost::asio::steady_timer;
using boost::system::error_code;

SteadyClock::duration Seconds(double s) {
  return std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(s));
}

class Run {
 public:
  Run(boost::asio::io_context* io, Transport* transport, RetryPolicy* policy, const Prompts& prompts,
      const TokenScale& scale, const Plan& plan, const RunOptions& options)
      : io_(io),
        transport_(transport),
        policy_(policy),
        prompts_(prompts),
        scale_(scale),
        plan_(plan),
        options_(options),
        random_(options.seed ^ 0xd1b54a32d192ed03u),
        arrival_timer_(*io),
        drain_timer_(*io),
        progress_timer_(*io),
        signals_(*io),
        work_(boost::asio::make_work_guard(*io)) {}

  RunLog Execute();

 private:
  // One request from its first attempt to its last.
  class Active;

  double Now() const { return std::chrono::duration<double>(SteadyClock::now() - start_).count(); }
  void StartDue();
  void ArmProgress();
  void BeginDrain();
  // Ends what is open as unfinished.
  void StopAll(const char* reason);
  void EndIfIdle();
  void OnDone(Active* active);

  boost::asio::io_context* const io_;
  Transport* const transport_;
  RetryPolicy* const policy_;
  const Prompts& prompts_;
  const TokenScale& scale_;
  const Plan& plan_;
  const RunOptions& options_;
  std::mt19937_64 random_;
  SteadyClock::time_point start_;
  Timer arrival_timer_, drain_timer_, progress_timer_;
  boost::asio::signal_set signals_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  size_t next_ = 0;  // of the plan
  bool stopping_ = false;
  std::unordered_set<Active*> active_;
  RunLog log_;
  RunProgress progress_;
};

class Run::Active final : public CallObserver {
 public:
  Active(Run* run, size_t index)
      : run_(run),
        index_(index),
        due_s_(run->plan_.requests[index].at_s),
        retry_timer_(*run->io_),
        timeout_timer_(*run->io_) {}

  void StartAttempt() {
    waiting_ = false;
    const PlannedRequest& planned = run_->plan_.requests[index_];
    AttemptRecord attempt;
    attempt.due_s = due_s_;
    attempt.start_s = run_->Now();
    run_->log_.lag.AddSeconds(std::max(0.0, attempt.start_s - due_s_));
    record().attempts.push_back(std::move(attempt));
    first_content_s_ = last_content_s_ = -1;
    pieces_ = 0;

    const RunOptions& options = run_->options_;
    const std::string prompt = run_->prompts_.Make(planned, index_, run_->scale_, run_->options_.prompt_salt);
    CallSpec spec;
    spec.prompt = prompt;
    spec.max_tokens = planned.output_tokens;
    spec.form = options.form;
    if (!options.classes.empty()) spec.priority = options.classes[planned.traffic_class].value;
    spec.api_key = options.tenants.empty() ? options.api_key : options.tenants[planned.tenant].value;
    spec.deadline_ms = options.deadline_ms;
    if (run_->policy_->CountsAttempts()) spec.attempt = static_cast<int>(record().attempts.size()) - 1;
    spec.ticket = std::exchange(ticket_, "");
    record().attempts.back().ticket = !spec.ticket.empty();
    call_ = run_->transport_->Start(spec, this);
    timeout_timer_.expires_after(Seconds(options.timeout_s));
    timeout_timer_.async_wait([run = run_, id = call_](error_code error) {
      if (!error) run->transport_->Cancel(id, "timeout");
    });
  }

  void OnContent(size_t) override {
    const double now = run_->Now();
    if (first_content_s_ < 0) {
      first_content_s_ = now;
    } else if (record().scheduled_s >= run_->options_.warmup_s) {
      run_->log_.gaps.AddSeconds(now - last_content_s_);
    }
    last_content_s_ = now;
    ++pieces_;
  }

  void OnEnd(const CallResult& result) override {
    timeout_timer_.cancel();
    AttemptRecord& attempt = record().attempts.back();
    attempt.end_s = run_->Now();
    attempt.end = result.end;
    attempt.status = result.grpc_code > 0 ? result.grpc_code : result.status;
    attempt.reason = result.end == CallEnd::kServed ? "" : result.reason;
    if (result.end != CallEnd::kServed && !result.message.empty()) {
      run_->log_.messages.try_emplace(result.reason, result.message.substr(0, 200));
    }
    attempt.hint_s = HintSeconds(result.advice).value_or(-1);
    attempt.promise = result.advice.promise;
    if (run_->options_.tickets) ticket_ = result.advice.ticket;
    if (result.end == CallEnd::kServed) return FinishServed(result, attempt.end_s);
    if (result.end == CallEnd::kRefused) ++run_->progress_.refused_attempts;
    record().reason = result.reason;
    if (run_->stopping_) return Finish(Outcome::kUnfinished);
    const auto delay = run_->policy_->NextDelay(result, static_cast<int>(record().attempts.size()), run_->random_);
    if (!delay) return Finish(result.end == CallEnd::kRefused ? Outcome::kRefused : Outcome::kFailed);
    waiting_ = true;
    ++run_->progress_.waiting_to_retry;
    due_s_ = attempt.end_s + *delay;
    retry_timer_.expires_at(run_->start_ + Seconds(due_s_));
    retry_timer_.async_wait([this](error_code error) {
      if (error || !waiting_) return;  // stopped; this handler was on its way already
      --run_->progress_.waiting_to_retry;
      StartAttempt();
    });
  }

  // The run is over.
  void Stop(const char* reason) {
    if (!waiting_) return run_->transport_->Cancel(call_, reason);
    --run_->progress_.waiting_to_retry;
    waiting_ = false;
    retry_timer_.cancel();
    Finish(Outcome::kUnfinished);
  }

 private:
  RequestRecord& record() { return run_->log_.records[index_]; }

  void FinishServed(const CallResult& result, double now) {
    RequestRecord& served = record();
    served.reason.clear();
    served.first_content_s = first_content_s_;
    served.last_content_s = last_content_s_;
    served.end_s = now;
    served.pieces = pieces_;
    served.prompt_tokens = result.prompt_tokens;
    served.completion_tokens = result.completion_tokens;
    served.cached_tokens = result.cached_tokens;
    served.finish_reason = result.finish_reason;
    run_->policy_->OnServed();
    Finish(Outcome::kServed);
  }

  void Finish(Outcome outcome) {
    record().outcome = outcome;
    if (outcome == Outcome::kServed) ++run_->progress_.served;
    if (outcome == Outcome::kFailed) ++run_->progress_.failed;
    run_->OnDone(this);
  }

  Run* const run_;
  const size_t index_;
  double due_s_;
  bool waiting_ = false;
  uint64_t call_ = 0;
  double first_content_s_ = -1, last_content_s_ = -1;
  int pieces_ = 0;
  std::string ticket_;  // of the last refusal
  Timer retry_timer_, timeout_timer_;
};

void Run::StartDue() {
  // Everything that is due is started, in order; then the timer waits for the next.
  while (!stopping_ && next_ < plan_.requests.size() && plan_.requests[next_].at_s <= Now()) {
    auto* const active = new Active(this, next_++);
    active_.insert(active);
    ++progress_.sent;
    active->StartAttempt();
  }
  if (stopping_) return;
  if (next_ == plan_.requests.size()) return BeginDrain();
  arrival_timer_.expires_at(start_ + Seconds(plan_.requests[next_].at_s));
  arrival_timer_.async_wait([this](error_code error) {
    if (!error) StartDue();
  });
}

void Run::BeginDrain() {
  drain_timer_.expires_at(start_ + Seconds(options_.duration_s + options_.drain_s));
  drain_timer_.async_wait([this](error_code error) {
    if (!error) StopAll("run_over");
  });
  EndIfIdle();
}

void Run::StopAll(const char* reason) {
  stopping_ = true;
  arrival_timer_.cancel();
  const std::vector<Active*> open(active_.begin(), active_.end());
  for (Active* active : open) active->Stop(reason);
  EndIfIdle();
}

void Run::EndIfIdle() {
  if (!active_.empty() || (!stopping_ && next_ < plan_.requests.size())) return;
  drain_timer_.cancel();
  progress_timer_.cancel();
  signals_.cancel();
  work_.reset();
}

void Run::OnDone(Active* active) {
  active_.erase(active);
  // Handlers of its timers may be queued with its address: they run before this one.
  boost::asio::post(*io_, [this, active] {
    delete active;
    EndIfIdle();
  });
}

void Run::ArmProgress() {
  progress_timer_.expires_after(Seconds(1));
  progress_timer_.async_wait([this](error_code error) {
    if (error) return;
    progress_.now_s = Now();
    progress_.open = static_cast<int64_t>(active_.size()) - progress_.waiting_to_retry;
    progress_.lag_p99_s = log_.lag.QuantileSeconds(0.99);
    options_.progress(progress_);
    ArmProgress();
  });
}

RunLog Run::Execute() {
  log_.warmup_s = options_.warmup_s;
  log_.duration_s = progress_.duration_s = options_.duration_s;
  log_.records.resize(plan_.requests.size());
  for (size_t i = 0; i < log_.records.size(); ++i) {
    const PlannedRequest& planned = plan_.requests[i];
    RequestRecord& record = log_.records[i];
    record.scheduled_s = planned.at_s;
    record.planned_prompt_tokens = planned.prompt_tokens;
    record.planned_output_tokens = planned.output_tokens;
    record.traffic_class = planned.traffic_class;
    record.tenant = planned.tenant;
  }
  if (options_.handle_signals) {
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    signals_.async_wait([this](error_code error, int) {
      if (error) return;
      log_.interrupted = true;
      log_.interrupted_s = Now();
      signals_.clear();  // the next one ends the process
      StopAll("interrupted");
    });
  }
  const double cpu_before = ProcessCpuSeconds();
  start_ = SteadyClock::now();
  if (options_.progress) ArmProgress();
  StartDue();
  io_->restart();
  io_->run();
  log_.ended_s = Now();
  log_.cpu_s = ProcessCpuSeconds() - cpu_before;
  log_.connection_waits = transport_->connection_waits();
  return std::move(log_);
}

}  // namespace

RunLog RunPlan(boost::asio::io_context* io, Transport* transport, RetryPolicy* policy, const Prompts& prompts,
               const TokenScale& scale, const Plan& plan, const RunOptions& options) {
  return Run(io, transport, policy, prompts, scale, plan, options).Execute();
}

}  // namespace hadal::bench
