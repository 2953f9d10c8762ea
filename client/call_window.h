// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::client {

// Lets so many calls be under way at once; the others wait in order. Thread-safe.
class CallWindow {
 public:
  // 0: any number.
  explicit CallWindow(int max_calls) : max_calls_(max_calls) {}

  int max_calls() const { return max_calls_; }
  // Whether `call` may go ahead now. Else `turn` runs when it may, on the thread of the Leave that makes room. Either
  // way it ends with Leave.
  bool Enter(const void* call, std::function<void()> turn);
  // Whether `call` still waited, and now does so no more: then without Leave.
  bool Withdraw(const void* call);
  void Leave();

 private:
  const int max_calls_;
  base::Mutex mutex_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::list<std::pair<const void*, std::function<void()>>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::client
