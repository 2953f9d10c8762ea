// SPDX-License-Identifier: Apache-2.0
#include "server/request/wake_signal.h"

namespace hadal::request {

void WakeSignal::Notify(uint32_t bits) {
  base::MutexLock lock(&mutex_);
  if ((bits_ | bits) == bits_) return;  // the waiter was told already
  bits_ |= bits;
  condition_.NotifyOne();
}

uint32_t WakeSignal::Take() {
  base::MutexLock lock(&mutex_);
  const uint32_t bits = bits_;
  bits_ = 0;
  return bits;
}

uint32_t WakeSignal::Wait(absl::Duration timeout) {
  base::MutexLock lock(&mutex_);
  // One wait is enough: a wake-up without cause costs the engine one empty round.
  if (bits_ == 0 && timeout > absl::ZeroDuration()) condition_.WaitFor(&mutex_, timeout);
  const uint32_t bits = bits_;
  bits_ = 0;
  return bits;
}

}  // namespace hadal::request
