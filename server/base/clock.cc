// SPDX-License-Identifier: Apache-2.0
#include "server/base/clock.h"

#include <chrono>

namespace hadal::base {
namespace {

class RealClock final : public Clock {
 public:
  // steady_clock since its own epoch, shown as absl::Time: a jump of the wall clock must not age any request.
  absl::Time Now() const override {
    return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }

  bool WaitUntil(CondVar* condition, Mutex* mutex, absl::Time deadline) const override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const absl::Duration left = deadline - Now();
    if (left > absl::ZeroDuration()) condition->WaitFor(mutex, left);
    return Now() < deadline;
  }
};

}  // namespace

Clock* Clock::Real() {
  static RealClock clock;
  return &clock;
}

}  // namespace hadal::base
