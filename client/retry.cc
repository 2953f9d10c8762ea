// SPDX-License-Identifier: Apache-2.0
#include "client/retry.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hadal::client {
namespace {

// How often a call looks whether the one that tries a server has an answer.
constexpr absl::Duration kProbe = absl::Milliseconds(100);

// For how long a server's report counts.
constexpr absl::Duration kReportAge = absl::Seconds(10);

constexpr absl::Duration kReportInterval = absl::Seconds(1);

// `first` * 2^n, at most `most`.
absl::Duration Doubled(absl::Duration first, int n, absl::Duration most) {
  return std::min(first * std::pow(2.0, std::clamp(n, 0, 30)), most);
}

}  // namespace

Target::Target(std::string address, const RetryOptions& options, Clock clock)
    : address_(std::move(address)),
      options_(options),
      clock_(std::move(clock)),
      line_(options.share_promises ? std::make_unique<Line>() : nullptr) {}

int Target::in_flight() const {
  base::MutexLock lock(&mutex_);
  return in_flight_;
}

double Target::load() const {
  base::MutexLock lock(&mutex_);
  if (clock_() - reported_at_ > kReportAge) return in_flight_;
  return std::max(reported_ + in_flight_ - in_flight_at_report_, 0.0);
}

void Target::Report(double requests) {
  base::MutexLock lock(&mutex_);
  reported_ = requests;
  in_flight_at_report_ = in_flight_;
  reported_at_ = clock_();
}

bool Target::ShouldAskForLoad() {
  base::MutexLock lock(&mutex_);
  const absl::Time now = clock_();
  if (StateLocked() != State::kClosed || now - std::max(asked_at_, reported_at_) < kReportInterval) {
    return false;
  }
  asked_at_ = now;
  return true;
}

Target::State Target::state() const {
  base::MutexLock lock(&mutex_);
  return StateLocked();
}

Target::State Target::StateLocked() const {
  if (failures_ < options_.breaker_failures) return State::kClosed;
  return clock_() < open_until_ ? State::kOpen : State::kHalfOpen;
}

absl::Time Target::AvailableAt() const {
  base::MutexLock lock(&mutex_);
  if (StateLocked() == State::kClosed) return absl::InfinitePast();
  return probing_ ? clock_() + kProbe : open_until_;
}

bool Target::Start() {
  base::MutexLock lock(&mutex_);
  const State state = StateLocked();
  if (state == State::kOpen || (state == State::kHalfOpen && probing_)) return false;
  probing_ = state == State::kHalfOpen;
  ++in_flight_;
  return true;
}

void Target::Answered() {
  base::MutexLock lock(&mutex_);
  failures_ = 0;
  probing_ = false;
}

void Target::Failed() {
  base::MutexLock lock(&mutex_);
  probing_ = false;
  const int over = ++failures_ - options_.breaker_failures;
  if (over >= 0) open_until_ = clock_() + Doubled(options_.breaker_pause, over, options_.max_backoff);
}

void Target::Finish() {
  base::MutexLock lock(&mutex_);
  --in_flight_;
  probing_ = false;
}

Targets::Targets(const std::vector<std::string>& addresses, RetryOptions options, Target::Clock clock)
    : options_(options), clock_(std::move(clock)), hedging_(options.hedging), stock_(options.budget) {
  for (const std::string& address : addresses) all_.push_back(std::make_unique<Target>(address, options_, clock_));
}

Target* Targets::StartLeastLoaded(std::vector<Target*> among) {
  absl::BitGen random;
  std::shuffle(among.begin(), among.end(), random);
  std::vector<std::pair<double, Target*>> by_load;
  for (Target* target : among) by_load.emplace_back(target->load(), target);
  std::stable_sort(by_load.begin(), by_load.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [load, target] : by_load) {
    if (target->Start()) return target;
  }
  return nullptr;
}

bool Targets::TakeRetry() {
  base::MutexLock lock(&mutex_);
  if (stock_ < 1) return false;
  stock_ -= 1;
  return true;
}

void Targets::OnServed() {
  base::MutexLock lock(&mutex_);
  stock_ = std::min(options_.budget, stock_ + options_.budget_refill);
}

bool Targets::TakeHedge() {
  if (!hedging_.Take()) return false;
  if (TakeRetry()) return true;
  hedging_.GiveBack();
  return false;
}

void Targets::ReturnHedge() {
  hedging_.GiveBack();
  base::MutexLock lock(&mutex_);
  stock_ = std::min(options_.budget, stock_ + 1);
}

CallCounts Targets::counts() const {
  return {.calls = calls_.load(std::memory_order_relaxed),
          .attempts = attempts_.load(std::memory_order_relaxed),
          .hedges = hedges_.load(std::memory_order_relaxed),
          .hedges_won = hedges_won_.load(std::memory_order_relaxed)};
}

RetriedCall::RetriedCall(Targets* targets, absl::Time deadline, std::function<double()> draw)
    : targets_(targets), deadline_(deadline), draw_(std::move(draw)) {
  if (!draw_) draw_ = [this] { return absl::Uniform(random_, 0.0, 1.0); };
  for (const auto& target : targets_->all()) plans_[target.get()];
  targets_->CountCall();
  if (targets_->hedging().on()) targets_->hedging().OnCall();
}

Target* RetriedCall::Begin() {
  if (no_budget_) return nullptr;
  const absl::Time now = targets_->Now();
  if (attempts_ == 0 && targets_->options().share_promises && slot_at_ == nullptr) JoinLine(now);
  std::vector<Target*> due, with_ticket;
  for (const auto& [target, plan] : plans_) {
    if (plan.given_up || ReadyAt(target, plan) > now) continue;
    due.push_back(target);
    if (!plan.ticket.empty()) with_ticket.push_back(target);
  }
  Target* target = targets_->StartLeastLoaded(std::move(with_ticket));
  if (target == nullptr) target = targets_->StartLeastLoaded(std::move(due));
  if (target != nullptr) Count(target);
  return target;
}

Target* RetriedCall::BeginHedge() {
  if (hedged_ || !targets_->hedging().on()) return nullptr;
  std::vector<Target*> fresh;
  for (const auto& [target, plan] : plans_) {
    // A server whose circuit is not closed is only being tried.
    if (!plan.given_up && plan.tries == 0 && target->state() == Target::State::kClosed) fresh.push_back(target);
  }
  if (fresh.empty() || !targets_->TakeHedge()) return nullptr;
  Target* const target = targets_->StartLeastLoaded(std::move(fresh));
  if (target == nullptr) {
    targets_->ReturnHedge();
    return nullptr;
  }
  hedged_ = true;
  Count(target);
  targets_->CountHedge();
  return target;
}

void RetriedCall::Count(Target* target) {
  ++attempts_;
  ++plans_[target].tries;
  targets_->CountAttempt();
}

std::string RetriedCall::TakeTicket(Target* target) { return std::exchange(plans_[target].ticket, ""); }

std::optional<absl::Duration> RetriedCall::Wait() const {
  absl::Time at = absl::InfiniteFuture();
  for (const auto& [target, plan] : plans_) {
    if (!plan.given_up) at = std::min(at, std::max(ReadyAt(target, plan), target->AvailableAt()));
  }
  if (no_budget_ || at >= deadline_) return std::nullopt;
  return std::max(at - targets_->Now(), absl::ZeroDuration());
}

absl::Time RetriedCall::ReadyAt(Target* target, const Plan& plan) const {
  if (attempts_ > 0 || target->line() == nullptr || late_for_lines_) return plan.ready_at;
  if (slot_at_ != nullptr) return slot_at_ == target ? slot_ : absl::InfiniteFuture();
  return target->line()->NextAt();
}

void RetriedCall::JoinLine(absl::Time now) {
  Target* first = nullptr;
  absl::Time at = absl::InfiniteFuture();
  for (const auto& [target, plan] : plans_) {
    if (plan.given_up) continue;
    if (const absl::Time next = target->line()->NextAt(); next < at) {
      first = target;
      at = next;
    }
  }
  if (first == nullptr || at <= now) return;
  late_for_lines_ = at >= deadline_;
  if (late_for_lines_) return;
  slot_at_ = first;
  slot_ = first->line()->Join(now);
}

void RetriedCall::Served(Target* target) {
  target->Answered();
  if (target->line() != nullptr) target->line()->Answered(targets_->Now());
  targets_->OnServed();
}

void RetriedCall::Refused(Target* target, const Refusal& refusal) {
  target->Answered();
  target->Finish();
  if (refusal.final) {
    for (auto& [other, plan] : plans_) plan.given_up = true;
    return;
  }
  PlanReturn(target, refusal);
}

void RetriedCall::Failed(Target* target) {
  target->Failed();
  target->Finish();
  PlanReturn(target, {});
}

void RetriedCall::GotOn() {
  for (auto& [target, plan] : plans_) {
    plan.tries = std::min(plan.tries, 1);
    plan.given_up = false;
  }
}

void RetriedCall::PlanReturn(Target* target, const Refusal& refusal) {
  const RetryOptions& options = targets_->options();
  Plan& plan = plans_[target];
  if (plan.tries >= options.max_attempts) {
    plan.given_up = true;
    return;
  }
  const bool promised = refusal.after.has_value() && !refusal.ticket.empty() && refusal.held;
  if (!promised && !targets_->TakeRetry()) {
    no_budget_ = true;
    return;
  }
  const absl::Duration after =
      refusal.after.value_or(draw_() * Doubled(options.initial_backoff, plan.tries - 1, options.max_backoff));
  plan.ready_at = targets_->Now() + after;
  plan.ticket = refusal.ticket;
  if (promised && target->line() != nullptr) target->line()->Promised(plan.ready_at);
}

}  // namespace hadal::client
