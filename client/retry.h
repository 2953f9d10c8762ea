// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "client/hedging.h"
#include "client/line.h"

namespace hadal::client {

// How calls are made again. One that is refused for capacity goes to another server that has not refused it yet; when
// all have, it returns to one at the time that it named, with the ticket that it gave. Where none names a time, after a
// back-off with full jitter. Only calls of which nothing has come are made again.
struct RetryOptions {
  int max_attempts = 5;  // at each server; 1: no retries
  absl::Duration initial_backoff = absl::Milliseconds(500);
  absl::Duration max_backoff = absl::Seconds(30);
  double budget = 100;         // retries in stock; each costs one, unless the server has given a ticket for its time
  double budget_refill = 0.5;  // what a served call puts back
  int breaker_failures = 5;    // in a row, until a server's circuit opens; refusals for capacity are no failures
  absl::Duration breaker_pause = absl::Seconds(1);  // until one call may try again; doubles up to max_backoff
  HedgingOptions hedging;                           // off
  // Calls that would come to a server which has just promised others of this client places for later wait on this side
  // until then, each in its turn, instead of asking to be refused. That spares the server an attempt, and forgoes the
  // place that it would have promised them.
  bool share_promises = false;
};

// What a client has done so far.
struct CallCounts {
  int64_t calls = 0;
  int64_t attempts = 0;    // of them all, hedges included
  int64_t hedges = 0;      // second servers that were asked because the first was slow
  int64_t hedges_won = 0;  // that answered first
};

// What a server said when it did not take a call.
struct Refusal {
  std::optional<absl::Duration> after;  // it named this time
  bool final = false;                   // it said that another attempt is of no use
  std::string ticket;                   // good once, at this server
  bool held = true;                     // with a ticket: a place is kept for the time that was named
};

// A server: its load, and its circuit. Closed: calls go there. Open, after
// `breaker_failures` in a row: none for a pause. Half open: one call tries. Thread-safe.
class Target {
 public:
  using Clock = std::function<absl::Time()>;
  enum class State { kClosed, kOpen, kHalfOpen };

  Target(std::string address, const RetryOptions& options, Clock clock);

  const std::string& address() const { return address_; }
  int in_flight() const;
  // Requests that the server has, as far as is known: what it reported in the last ten seconds, be it with a call or
  // because it was asked, and what this client has sent there since; without a report this client's calls alone.
  double load() const;
  State state() const;
  // From when on a call may go there; the past: now.
  absl::Time AvailableAt() const;

  // Whether a call may go there now. It ends with Finish; before that, with what became of it: it answered, be it that
  // it is busy, or it failed to.
  bool Start();
  void Answered();
  void Failed();
  void Finish();
  // It said how many requests it has, other clients' included.
  void Report(double requests);
  // Of calls that wait on this side; null without share_promises.
  Line* line() const { return line_.get(); }
  // Whether it should be asked for that: true at most once a second, and when it has not reported for so long.
  bool ShouldAskForLoad();

 private:
  State StateLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string address_;
  const RetryOptions& options_;
  const Clock clock_;
  const std::unique_ptr<Line> line_;
  mutable base::Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  double reported_ ABSL_GUARDED_BY(mutex_) = 0;
  int in_flight_at_report_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time reported_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time asked_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;  // in a row
  absl::Time open_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool probing_ ABSL_GUARDED_BY(mutex_) = false;
};

// The servers of a client, and the stock of retries that its calls share so that they never become the load.
// Thread-safe.
class Targets {
 public:
  // At least one address. `clock` is for tests.
  Targets(const std::vector<std::string>& addresses, RetryOptions options, Target::Clock clock = absl::Now);

  const RetryOptions& options() const { return options_; }
  absl::Time Now() const { return clock_(); }
  const std::vector<std::unique_ptr<Target>>& all() const { return all_; }
  // Of those, the one with the least load, started; null: none may be called now.
  Target* StartLeastLoaded(std::vector<Target*> among);

  bool TakeRetry();
  void OnServed();

  Hedging& hedging() { return hedging_; }
  // Whether there may be one more hedge: it takes a retry from the stock. ReturnHedge: there was none after all.
  bool TakeHedge();
  void ReturnHedge();

  CallCounts counts() const;
  void CountCall() { calls_.fetch_add(1, std::memory_order_relaxed); }
  void CountAttempt() { attempts_.fetch_add(1, std::memory_order_relaxed); }
  void CountHedge() { hedges_.fetch_add(1, std::memory_order_relaxed); }
  void CountHedgeWon() { hedges_won_.fetch_add(1, std::memory_order_relaxed); }

 private:
  const RetryOptions options_;
  const Target::Clock clock_;
  Hedging hedging_;
  std::atomic<int64_t> calls_{0}, attempts_{0}, hedges_{0}, hedges_won_{0};
  std::vector<std::unique_ptr<Target>> all_;
  base::Mutex mutex_;
  double stock_ ABSL_GUARDED_BY(mutex_);
};

// One call through all its attempts; no I/O and no waiting of its own. Not thread-safe.
//
//   while (true) {
//     Target* target = call.Begin();
//     if (target == nullptr) { wait for call.Wait(), or give up when there is none; continue; }
//     ... attempt, with call.TakeTicket(target) ...
//     call.Served(target), and target->Finish() at its end; or call.Refused(target, refusal); or call.Failed(target);
//   }
//
// While an attempt is under way, BeginHedge may give a second one. One of the two that is given up ends with
// target->Finish() alone.
class RetriedCall {
 public:
  // `draw`: uniform in [0, 1), for tests.
  RetriedCall(Targets* targets, absl::Time deadline, std::function<double()> draw = nullptr);
  RetriedCall(const RetriedCall&) = delete;
  RetriedCall& operator=(const RetriedCall&) = delete;

  // The server to call now; null: none may be called yet.
  Target* Begin();
  // A server to ask as well, once a call: one that it has not asked yet. Null: there is none, or no budget for it.
  Target* BeginHedge();
  // Of that server's last refusal; empty: none.
  std::string TakeTicket(Target* target);
  // How long until the next attempt; nullopt: there will be none in time.
  std::optional<absl::Duration> Wait() const;

  void Served(Target* target);
  void Refused(Target* target, const Refusal& refusal);
  // The connection could not be made, or broke before an answer.
  void Failed(Target* target);

  // A part of the answer has come for good: the attempts before do not count against max_attempts any more.
  void GotOn();

  int attempts() const { return attempts_; }
  absl::Time deadline() const { return deadline_; }

 private:
  struct Plan {
    int tries = 0;
    bool given_up = false;
    absl::Time ready_at = absl::InfinitePast();
    std::string ticket;
  };

  void Count(Target* target);
  // When the call may ask that server; the past: now.
  absl::Time ReadyAt(Target* target, const Plan& plan) const;
  // Waits in the line of the server whose turn would come first, unless one may be asked now, or none in time.
  void JoinLine(absl::Time now);
  void PlanReturn(Target* target, const Refusal& refusal);

  Targets* const targets_;
  const absl::Time deadline_;
  std::function<double()> draw_;
  absl::BitGen random_;
  std::map<Target*, Plan> plans_;
  int attempts_ = 0;
  bool no_budget_ = false;
  bool hedged_ = false;
  Target* slot_at_ = nullptr;  // in whose line it waits
  absl::Time slot_ = absl::InfinitePast();
  bool late_for_lines_ = false;
};

}  // namespace hadal::client
