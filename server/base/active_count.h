// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::base {

// Counts operations in progress, so that others can wait until there are none. Thread-safe. May be destroyed as soon as
// WaitZero has returned true, provided that Add is not called again.
class ActiveCount {
 public:
  void Add();
  void Done();
  int64_t value() const;
  // True when nothing is in progress, at once or within the time-out.
  bool WaitZero(absl::Duration timeout) const;
  // The same with a deadline (of Clock::Real()) that may change while waiting: call LookAgain after changing it.
  // `until` runs under this object's mutex.
  bool WaitZero(absl::FunctionRef<absl::Time()> until) const;
  void LookAgain();

  // Counts one while it is alive.
  class Scope {
   public:
    explicit Scope(ActiveCount* count) : count_(count) { count_->Add(); }
    ~Scope() { count_->Done(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ActiveCount* const count_;
  };

 private:
  mutable Mutex mutex_;
  mutable CondVar changed_;  // it is zero, or LookAgain
  int64_t value_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal::base
