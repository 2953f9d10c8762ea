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
  if (StateLocked() != State::kClosed || now - asked_at_ < kReportInterval) return false;
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
    : options_(options), clock_(std::move(clock)), stock_(options.budget) {
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

RetriedCall::RetriedCall(Targets* targets, absl::Time deadline, std::function<double()> draw)
    : targets_(targets), deadline_(deadline), draw_(std::move(draw)) {
  if (!draw_) draw_ = [this] { return absl::Uniform(random_, 0.0, 1.0); };
  for (const auto& target : targets_->all()) plans_[target.get()];
}

Target* RetriedCall::Begin() {
  const absl::Time now = targets_->Now();
  std::vector<Target*> due, with_ticket;
  for (const auto& [target, plan] : plans_) {
    if (plan.given_up || plan.ready_at > now) continue;
    due.push_back(target);
    if (!plan.ticket.empty()) with_ticket.push_back(target);
  }
  current_ = targets_->StartLeastLoaded(std::move(with_ticket));
  if (current_ == nullptr) current_ = targets_->StartLeastLoaded(std::move(due));
  if (current_ == nullptr) return nullptr;
  ++attempts_;
  ++plans_[current_].tries;
  return current_;
}

std::string RetriedCall::TakeTicket() { return std::exchange(plans_[current_].ticket, ""); }

std::optional<absl::Duration> RetriedCall::Wait() const {
  absl::Time at = absl::InfiniteFuture();
  for (const auto& [target, plan] : plans_) {
    if (!plan.given_up) at = std::min(at, std::max(plan.ready_at, target->AvailableAt()));
  }
  if (no_budget_ || at >= deadline_) return std::nullopt;
  return std::max(at - targets_->Now(), absl::ZeroDuration());
}

void RetriedCall::Served() {
  current_->Answered();
  targets_->OnServed();
}

void RetriedCall::Refused(const Refusal& refusal) {
  current_->Answered();
  current_->Finish();
  if (refusal.final) {
    for (auto& [target, plan] : plans_) plan.given_up = true;
    return;
  }
  PlanReturn(refusal);
}

void RetriedCall::Failed() {
  current_->Failed();
  current_->Finish();
  PlanReturn({});
}

void RetriedCall::PlanReturn(const Refusal& refusal) {
  const RetryOptions& options = targets_->options();
  Plan& plan = plans_[current_];
  if (plan.tries >= options.max_attempts) {
    plan.given_up = true;
    return;
  }
  const bool promised = refusal.after.has_value() && !refusal.ticket.empty();
  if (!promised && !targets_->TakeRetry()) {
    no_budget_ = true;
    return;
  }
  const absl::Duration after =
      refusal.after.value_or(draw_() * Doubled(options.initial_backoff, plan.tries - 1, options.max_backoff));
  plan.ready_at = targets_->Now() + after;
  plan.ticket = refusal.ticket;
}

}  // namespace hadal::client
