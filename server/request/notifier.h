// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::request {

// Tells a consumer that a producer has something for it to read. The callback is set on construction, so that no
// producer can run before it is registered, and the consumer disconnects it before anything that it touches is
// destroyed. Thread-safe. Held by shared_ptr, by the producers and by the consumer.
class Notifier {
 public:
  // `callback` runs on the notifying thread, one call at a time and under the notifier's lock: it may only post work to
  // another thread, and must not call Disconnect.
  explicit Notifier(std::function<void()> callback) : callback_(std::move(callback)) {}
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Runs the callback; does nothing after Disconnect.
  void Notify();
  // When this returns, the callback does not run, will not run again, and what it captured has been
  // released. Idempotent.
  void Disconnect();

 private:
  base::Mutex mutex_;
  std::function<void()> callback_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::request
