// SPDX-License-Identifier: Apache-2.0
#include "server/request/notifier.h"

#include <utility>

namespace hadal::request {

void Notifier::Notify() {
  base::MutexLock lock(&mutex_);
  if (callback_ != nullptr) callback_();
}

void Notifier::Disconnect() {
  std::function<void()> callback;
  {
    base::MutexLock lock(&mutex_);
    callback = std::exchange(callback_, nullptr);
  }
  // What the callback captured is released here, without the lock.
}

}  // namespace hadal::request
