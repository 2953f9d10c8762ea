// SPDX-License-Identifier: Apache-2.0
#include "server/base/circuit_breaker.h"

#include <algorithm>

namespace hadal::base {

bool CircuitBreaker::MayBegin(absl::Time now) const {
  switch (state_) {
    case State::kClosed:
      return true;
    case State::kOpen:
      return now >= open_until_;
    case State::kHalfOpen:  // the probe is under way
      return false;
  }
  return false;
}

uint64_t CircuitBreaker::Begin(absl::Time now) {
  if (state_ == State::kOpen) Enter(State::kHalfOpen);
  return era_;
}

void CircuitBreaker::End(uint64_t call, Result result, absl::Time now) {
  if (call != era_) return;
  if (state_ == State::kClosed) {
    if (result == Result::kUnknown) return;
    Count(result == Result::kBad, now);
    if (TooManyBad(now)) Open(options_.open_for, now);
    return;
  }
  switch (result) {
    case Result::kGood:
      open_for_ = absl::ZeroDuration();
      slots_.fill({});
      return Enter(State::kClosed);
    case Result::kBad:
      return Open(std::min(2 * open_for_, options_.max_open_for), now);
    case Result::kUnknown:  // the next call is the probe
      Enter(State::kOpen);
      open_until_ = now;
  }
}

void CircuitBreaker::Enter(State state) {
  state_ = state;
  ++era_;
}

void CircuitBreaker::Open(absl::Duration duration, absl::Time now) {
  Enter(State::kOpen);
  open_for_ = duration;
  open_until_ = now + duration;
}

int64_t CircuitBreaker::SlotNumber(absl::Time now) const {
  return absl::ToUnixMicros(now) / absl::ToInt64Microseconds(options_.window / kSlots);
}

void CircuitBreaker::Count(bool bad, absl::Time now) {
  const int64_t number = SlotNumber(now);
  Slot& slot = slots_[static_cast<size_t>(number) % kSlots];
  if (slot.number != number) slot = {.number = number};
  ++slot.calls;
  if (bad) ++slot.bad;
}

bool CircuitBreaker::TooManyBad(absl::Time now) const {
  const int64_t first = SlotNumber(now) - static_cast<int64_t>(kSlots) + 1;
  int64_t calls = 0, bad = 0;
  for (const Slot& slot : slots_) {
    if (slot.number < first) continue;
    calls += slot.calls;
    bad += slot.bad;
  }
  return calls >= options_.min_calls && static_cast<double>(bad) >= options_.bad_share * static_cast<double>(calls);
}

}  // namespace hadal::base
