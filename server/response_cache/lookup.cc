// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/lookup.h"

namespace hadal::response_cache {

bool Lookup::ready() const {
  base::MutexLock lock(&mutex_);
  return ready_;
}

void Lookup::OnReady(std::function<void()> done) {
  {
    base::MutexLock lock(&mutex_);
    if (!ready_) {
      waiting_.push_back(std::move(done));
      return;
    }
  }
  done();
}

Lookup::Entry Lookup::Wait() const {
  base::MutexLock lock(&mutex_);
  while (!ready_) changed_.Wait(&mutex_);
  return entry_;
}

bool Lookup::Set(Entry entry) {
  std::vector<std::function<void()>> waiting;
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(ready_, true)) return false;
    entry_ = std::move(entry);
    waiting.swap(waiting_);
    changed_.NotifyAll();
  }
  for (const std::function<void()>& done : waiting) done();
  return true;
}

}  // namespace hadal::response_cache
