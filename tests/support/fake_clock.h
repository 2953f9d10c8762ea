// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "absl/time/time.h"
#include "server/base/clock.h"

namespace hadal::testing {

// A clock that moves only when told. Thread-safe. Starts at a round time far from 0.
class FakeClock final : public base::Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixMicros(now_us_.load()); }
  // Advance knows no waiters, so a wait ends after a millisecond at the latest; callers ask again anyway.
  bool WaitUntil(base::CondVar* condition, base::Mutex* mutex, absl::Time deadline) const override {
    if (Now() < deadline) condition->WaitFor(mutex, absl::Milliseconds(1));
    return Now() < deadline;
  }
  void Advance(absl::Duration by) { now_us_.fetch_add(absl::ToInt64Microseconds(by)); }

 private:
  std::atomic<int64_t> now_us_{1'000'000'000};
};

}  // namespace hadal::testing
