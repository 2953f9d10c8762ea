// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/timer.h"

#include <utility>

namespace hadal::response_cache {

Timer::Timer(const base::Clock* clock) : clock_(clock), thread_([this] { Run(); }) {}

Timer::~Timer() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Timer::At(absl::Time when, std::function<void()> due) {
  base::MutexLock lock(&mutex_);
  const auto added = waiting_.emplace(when, std::move(due));
  if (added == waiting_.begin()) changed_.NotifyAll();
}

void Timer::Run() {
  while (true) {
    std::function<void()> due;
    {
      base::MutexLock lock(&mutex_);
      if (stopping_) return;
      const absl::Time next = waiting_.empty() ? absl::InfiniteFuture() : waiting_.begin()->first;
      if (next > clock_->Now()) {
        clock_->WaitUntil(&changed_, &mutex_, next);
        continue;
      }
      due = std::move(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
    }
    due();
  }
}

}  // namespace hadal::response_cache
