// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace hadal::base {

// Keeps calls away from a server that fails or has become slow.
//
//   closed      calls pass; opens if at least `min_calls` were made in the window and `bad_share` of them were bad
//   open        no calls pass for `open_for`, which doubles after each bad probe, up to `max_open_for`
//   half-open   one call (the probe) passes: if it is good the circuit closes, else it opens again
//
// The caller passes the time in. Not thread-safe.
class CircuitBreaker {
 public:
  struct Options {
    absl::Duration window = absl::Seconds(30);
    int64_t min_calls = 5;
    double bad_share = 0.5;  // failed and slow ones together
    absl::Duration open_for = absl::Seconds(5);
    absl::Duration max_open_for = absl::Seconds(60);
  };
  enum class State : uint8_t { kClosed, kOpen, kHalfOpen };
  enum class Result : uint8_t {
    kGood,
    kBad,      // it failed, or was slow
    kUnknown,  // it ended before the result was known
  };

  explicit CircuitBreaker(const Options& options) : options_(options) {}

  // Whether a call may begin: Begin would count it.
  bool MayBegin(absl::Time now) const;
  // A call begins (MayBegin returned true). Returns the argument for End.
  uint64_t Begin(absl::Time now);
  // Results of calls that began before the last change of state are ignored.
  void End(uint64_t call, Result result, absl::Time now);

  State state() const { return state_; }
  // While open: when a probe may begin.
  absl::Time open_until() const { return open_until_; }

 private:
  static constexpr size_t kSlots = 10;
  struct Slot {
    int64_t number = -1;  // of the tenth of a window that it counts
    int64_t calls = 0;
    int64_t bad = 0;
  };

  void Enter(State state);
  void Open(absl::Duration duration, absl::Time now);
  void Count(bool bad, absl::Time now);
  bool TooManyBad(absl::Time now) const;
  int64_t SlotNumber(absl::Time now) const;

  const Options options_;
  State state_ = State::kClosed;
  uint64_t era_ = 0;  // changes with the state
  absl::Time open_until_;
  absl::Duration open_for_ = absl::ZeroDuration();  // the last time
  std::array<Slot, kSlots> slots_;
};

}  // namespace hadal::base
