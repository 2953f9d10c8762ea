// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::testing {

// What a test waits on between two reads, as fronts do, while another thread's callback wakes it. A wake that comes
// before its wait is kept, and several count as one. Thread-safe.
class WakeLatch {
 public:
  void Wake() {
    base::MutexLock lock(&mutex_);
    woken_ = true;
    changed_.NotifyAll();
  }

  // Takes the wake. False: none came in a minute, so that a test fails and does not hang.
  bool Wait() {
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    base::MutexLock lock(&mutex_);
    while (!woken_) {
      if (!changed_.WaitFor(&mutex_, deadline - absl::Now())) break;
    }
    const bool woken = woken_;
    woken_ = false;
    return woken;
  }

 private:
  base::Mutex mutex_;
  base::CondVar changed_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace hadal::testing
