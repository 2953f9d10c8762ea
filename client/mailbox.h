// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::client {

// A value that another thread brings.
template <typename T>
class Mailbox {
 public:
  void Put(T value) {
    base::MutexLock lock(&mutex_);
    value_ = std::move(value);
    arrived_.NotifyOne();  // under the lock: whoever waits may destroy this at once
  }
  // nullopt: not within `timeout`.
  std::optional<T> Take(absl::Duration timeout) {
    base::MutexLock lock(&mutex_);
    if (!value_.has_value()) arrived_.WaitFor(&mutex_, timeout);
    return std::exchange(value_, std::nullopt);
  }
  // However long it takes.
  T Take() {
    while (true) {
      if (std::optional<T> value = Take(absl::InfiniteDuration())) return *std::move(value);
    }
  }

 private:
  base::Mutex mutex_;
  base::CondVar arrived_;
  std::optional<T> value_ ABSL_GUARDED_BY(mutex_);
};

// Starts a call and waits for what it brings, a T.
template <typename T, typename Start>
T WaitForValue(const Start& start) {
  Mailbox<T> mailbox;
  start([&mailbox](T value) { mailbox.Put(std::move(value)); });
  return mailbox.Take();
}

// The same, of a call that may fail.
template <typename T, typename Start>
absl::StatusOr<T> WaitFor(const Start& start) {
  return WaitForValue<absl::StatusOr<T>>(start);
}

}  // namespace hadal::client
