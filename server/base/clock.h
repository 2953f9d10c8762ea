// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::base {

// Source of time for scheduler, admission and Retry-After, so that tests run on a virtual clock. Thread-safe.
// Now() never goes backwards; it is not wall-clock time.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
  // CondVar::Wait until this clock reaches `deadline`; false when it has. InfiniteFuture is allowed.
  virtual bool WaitUntil(CondVar* condition, Mutex* mutex, absl::Time deadline) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) = 0;

  // Monotonic system clock; lives for the whole process.
  static Clock* Real();
};

}  // namespace hadal::base
