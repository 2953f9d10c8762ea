// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/target_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/strings.h"

namespace hadal::upstream {
namespace {

using Result = base::CircuitBreaker::Result;
using State = base::CircuitBreaker::State;

std::vector<std::string> NamesOf(const std::vector<TargetOptions>& targets) {
  std::vector<std::string> names;
  for (const TargetOptions& target : targets) names.push_back(target.name);
  return names;
}

void LogState(const std::string& name, State before, State after, Outcome last, absl::Duration open_for) {
  if (after == State::kOpen && before != State::kOpen) {
    base::Log(base::LogLevel::kWarn, "upstream",
              absl::StrCat(name, " is left out for ", absl::FormatDuration(open_for),
                           ": too many of its answers failed or came late; the last: ",
                           base::View(kOutcomes[static_cast<size_t>(last)])));
  } else if (after == State::kClosed && before != State::kClosed) {
    base::Log(base::LogLevel::kInfo, "upstream", absl::StrCat(name, " answers again"));
  }
}

}  // namespace

TargetSet::Attempt& TargetSet::Attempt::operator=(Attempt&& other) noexcept {
  if (this == &other) return *this;
  End(Outcome::kCancelled);
  set_ = std::exchange(other.set_, nullptr);
  target_ = other.target_;
  call_ = other.call_;
  begin_ = other.begin_;
  first_byte_after_ = other.first_byte_after_;
  return *this;
}

void TargetSet::Attempt::SawFirstByte() {
  first_byte_after_ = set_->options_.clock->Now() - begin_;
  set_->metrics_.first_byte.At(target_).Observe(absl::ToDoubleSeconds(*first_byte_after_));
}

void TargetSet::Attempt::End(Outcome outcome, std::optional<absl::Duration> rest) {
  if (set_ != nullptr) std::exchange(set_, nullptr)->End(*this, outcome, rest);
}

TargetSet::TargetSet(Options options)
    : options_(std::move(options)),
      metrics_(options_.metrics, NamesOf(options_.targets)),
      targets_(options_.targets.size(), Target(options_.breaker)),
      levels_(options_.metrics, [this] { UpdateGauges(); }) {}

bool TargetSet::MayBegin(size_t index, absl::Time now) const {
  const Target& target = targets_[index];
  return target.in_flight < options_.targets[index].max_in_flight && now >= target.rests_until &&
         target.breaker.MayBegin(now);
}

bool TargetSet::MayBegin() const {
  const absl::Time now = options_.clock->Now();
  base::MutexLock lock(&mutex_);
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (MayBegin(i, now)) return true;
  }
  return false;
}

std::optional<size_t> TargetSet::ByWeight(size_t first, size_t end, const std::vector<bool>& tried, absl::Time now) {
  // Smooth weighted round robin: each gains its weight, and the one with the most pays for all.
  std::optional<size_t> chosen;
  int gained = 0;
  for (size_t i = first; i < end; ++i) {
    if (tried[i] || !MayBegin(i, now)) continue;
    targets_[i].credit += options_.targets[i].weight;
    gained += options_.targets[i].weight;
    if (!chosen.has_value() || targets_[i].credit > targets_[*chosen].credit) chosen = i;
  }
  if (chosen.has_value()) targets_[*chosen].credit -= gained;
  return chosen;
}

std::optional<TargetSet::Attempt> TargetSet::Begin(const std::vector<bool>& tried) {
  const absl::Time now = options_.clock->Now();
  base::MutexLock lock(&mutex_);
  std::optional<size_t> chosen;
  for (size_t i = 0; i < targets_.size() && !chosen.has_value();) {
    size_t end = i + 1;
    if (options_.targets[i].weight == 0) {
      if (!tried[i] && MayBegin(i, now)) chosen = i;
    } else {
      while (end < targets_.size() && options_.targets[end].weight > 0) ++end;
      chosen = ByWeight(i, end, tried, now);
    }
    i = end;
  }
  if (!chosen.has_value()) return std::nullopt;
  Target& target = targets_[*chosen];
  ++target.in_flight;
  return Attempt(this, *chosen, target.breaker.Begin(now), now);
}

// A target that is only full has answered well; one whose client left early has not answered at all.
Result TargetSet::ResultOf(const Attempt& attempt, Outcome outcome, absl::Time now) const {
  switch (outcome) {
    case Outcome::kOk:
      return attempt.first_byte_after_.value_or(absl::ZeroDuration()) > options_.slow_after ? Result::kBad
                                                                                            : Result::kGood;
    case Outcome::kBusy:
    case Outcome::kRejected:
      return Result::kGood;
    case Outcome::kExpired:
    case Outcome::kCancelled:
      if (attempt.first_byte_after_.has_value()) return Result::kGood;
      return now - attempt.begin_ > options_.slow_after ? Result::kBad : Result::kUnknown;
    case Outcome::kError:
    case Outcome::kMalformed:
    case Outcome::kUnreachable:
    case Outcome::kTimeout:
    case Outcome::kBroken:
      return Result::kBad;
  }
  return Result::kBad;
}

void TargetSet::End(const Attempt& attempt, Outcome outcome, std::optional<absl::Duration> rest) {
  const absl::Time now = options_.clock->Now();
  metrics_.RequestsOf(attempt.target_, outcome).Increment();
  State before, after;
  absl::Duration open_for;
  {
    base::MutexLock lock(&mutex_);
    Target& target = targets_[attempt.target_];
    --target.in_flight;
    if (outcome == Outcome::kBusy) {
      const absl::Duration wait = std::clamp(rest.value_or(kShortestRest), absl::ZeroDuration(), kLongestRest);
      target.rests_until = std::max(target.rests_until, now + wait);
    }
    before = target.breaker.state();
    target.breaker.End(attempt.call_, ResultOf(attempt, outcome, now), now);
    after = target.breaker.state();
    open_for = target.breaker.open_until() - now;
  }
  LogState(options_.targets[attempt.target_].name, before, after, outcome, open_for);
}

base::CircuitBreaker::State TargetSet::state(size_t index) const {
  base::MutexLock lock(&mutex_);
  return targets_[index].breaker.state();
}

void TargetSet::UpdateGauges() {
  base::MutexLock lock(&mutex_);
  for (size_t i = 0; i < targets_.size(); ++i) {
    metrics_.in_flight.At(i).Set(targets_[i].in_flight);
    for (size_t state = 0; state < kCircuitStates.size(); ++state) {
      metrics_.StateOf(i, state).Set(static_cast<size_t>(targets_[i].breaker.state()) == state ? 1 : 0);
    }
  }
}

}  // namespace hadal::upstream
