// SPDX-License-Identifier: Apache-2.0
#include "server/service/worker_pool.h"

#include <algorithm>
#include <utility>

namespace hadal::service {

WorkerPool::WorkerPool(int threads, size_t max_queued) : max_queued_(max_queued) {
  const int count = std::max(threads, 1);
  threads_.reserve(count);
  for (int i = 0; i < count; ++i) {
    threads_.emplace_back([this, takes_long = i < std::max(count / 2, 1)] { Run(takes_long); });
  }
}

WorkerPool::~WorkerPool() { Stop(); }

bool WorkerPool::TryPost(std::function<void()> job, Lane lane) {
  base::MutexLock lock(&mutex_);
  if (stopping_ || queue(lane).size() >= max_queued_) return false;
  queue(lane).push_back(std::move(job));
  // Any thread can serve a short job, only some a long one.
  if (lane == Lane::kShort) {
    changed_.NotifyOne();
  } else {
    changed_.NotifyAll();
  }
  return true;
}

void WorkerPool::Stop() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

WorkerPool::Queue* WorkerPool::NextQueue(bool takes_long) {
  const bool has_short = !queue(Lane::kShort).empty();
  if (takes_long && !queue(Lane::kLong).empty()) {
    if (!has_short) return &queue(Lane::kLong);
    // Both wait: in turn, so that neither starves.
    long_is_next_ = !long_is_next_;
    return &queue(long_is_next_ ? Lane::kShort : Lane::kLong);
  }
  return has_short ? &queue(Lane::kShort) : nullptr;
}

void WorkerPool::Run(bool takes_long) {
  while (true) {
    std::function<void()> job;
    {
      base::MutexLock lock(&mutex_);
      Queue* next = NextQueue(takes_long);
      while (next == nullptr && !stopping_) {
        changed_.Wait(&mutex_);
        next = NextQueue(takes_long);
      }
      if (next == nullptr) return;
      job = std::move(next->front());
      next->pop_front();
      // This thread may have been woken for a short job that another one must take now.
      if (!queue(Lane::kShort).empty()) changed_.NotifyOne();
    }
    job();
  }
}

}  // namespace hadal::service
