// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_executor.h"

namespace hadal::rpc {

CallExecutor::CallExecutor(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

CallExecutor::~CallExecutor() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void CallExecutor::Post(std::function<void()> job) {
  bool wake = false;
  {
    base::MutexLock lock(&mutex_);
    jobs_.push_back(std::move(job));
    wake = idle_ > 0;
  }
  // Without the lock, which the woken thread takes first.
  if (wake) wake_.NotifyOne();
}

void CallExecutor::Run() {
  // Takes everything at once: an engine step wakes hundreds of calls, and one lock for all of them is enough.
  std::deque<std::function<void()>> taken;
  while (true) {
    {
      base::MutexLock lock(&mutex_);
      while (jobs_.empty()) {
        if (stopping_) return;
        ++idle_;
        wake_.Wait(&mutex_);
        --idle_;
      }
      const size_t share = threads_.size() > 1 ? (jobs_.size() + 1) / 2 : jobs_.size();
      for (size_t i = 0; i < share; ++i) {
        taken.push_back(std::move(jobs_.front()));
        jobs_.pop_front();
      }
    }
    for (std::function<void()>& job : taken) job();
    taken.clear();
  }
}

}  // namespace hadal::rpc
