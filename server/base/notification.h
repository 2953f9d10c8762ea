// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/clock.h"

namespace hadal::base {

// A one-time event that threads can wait for. What was done before Notify is visible after a WaitFor that returned
// true. Thread-safe.
class Notification {
 public:
  // False when it had happened before.
  bool Notify() {
    MutexLock lock(&mutex_);
    if (notified_) return false;
    notified_ = true;
    changed_.NotifyAll();
    return true;
  }
  // True when it has happened, before or within the time-out.
  bool WaitFor(absl::Duration timeout) {
    const absl::Time deadline = Clock::Real()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (!notified_ && Clock::Real()->WaitUntil(&changed_, &mutex_, deadline)) {
    }
    return notified_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool notified_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace hadal::base
