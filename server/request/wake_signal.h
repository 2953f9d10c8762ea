// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::request {

// Wakes an engine thread when another thread has something for it to do. Thread-safe. Shared by the queue, by every
// stream of the engine's requests and by the engine, so that a late cancel never reaches a destroyed engine.
class WakeSignal {
 public:
  static constexpr uint32_t kEnqueued = 1;  // a request was queued
  static constexpr uint32_t kConsumer = 2;  // a consumer cancelled, stopped a choice or made room in a full stream
  static constexpr uint32_t kControl = 4;   // stop or drain was asked for

  // Adds the bits and wakes the waiter. Cheap when bits are set already.
  void Notify(uint32_t bits);
  // Takes all bits set since the last call, without waiting.
  uint32_t Take();
  // Waits until a bit is set or the time-out passes; takes the bits.
  uint32_t Wait(absl::Duration timeout);

 private:
  base::Mutex mutex_;
  base::CondVar condition_;
  uint32_t bits_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal::request
