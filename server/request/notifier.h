// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::request {

// Notifies a consumer that a producer has data for it. The callback is set on construction, so that it is registered
// before any producer runs; the consumer disconnects it before destroying anything that it uses. Thread-safe. Held by
// shared_ptr, by the producers and by the consumer.
class Notifier {
 public:
  // `callback` runs on the notifying thread, one call at a time and under the notifier's lock: it may only post work to
  // another thread, and must not call Disconnect.
  explicit Notifier(std::function<void()> callback) : callback_(std::move(callback)) {}
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Runs the callback; does nothing after Disconnect.
  void Notify();
  // When this returns, the callback is not running, will not run again, and its captures have been released.
  // Idempotent.
  void Disconnect();

 private:
  base::Mutex mutex_;
  std::function<void()> callback_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::request
