// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"
#include "server/base/check.h"
#include "server/base/clock.h"

namespace hadal::sim {

// A clock that only the simulation moves. One thread owns everything, so nobody can wait on it.
class SimClock final : public base::Clock {
 public:
  absl::Time Now() const override { return now_; }
  bool WaitUntil(base::CondVar*, base::Mutex*, absl::Time) const override {
    HADAL_CHECK(false) << "a simulation has one thread, and it must not wait";
    return false;
  }
  // Does nothing when `time` has passed.
  void AdvanceTo(absl::Time time) {
    if (time > now_) now_ = time;
  }

 private:
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
};

}  // namespace hadal::sim
