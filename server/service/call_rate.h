// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::service {

// The mean rate of an event over the last ten seconds. Thread-safe.
class CallRate {
 public:
  void Add(absl::Time now);
  // Events per second. Too low during the first ten seconds.
  double PerSecond(absl::Time now) const;

 private:
  static constexpr int64_t kSeconds = 10;
  struct Slot {
    int64_t second = INT64_MIN;  // since the epoch
    int64_t count = 0;
  };

  mutable base::Mutex mutex_;
  std::array<Slot, kSeconds> slots_ ABSL_GUARDED_BY(mutex_);  // by second
};

}  // namespace hadal::service
