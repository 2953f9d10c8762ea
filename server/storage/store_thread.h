// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/sync.h"

namespace hadal::storage {

// The only thread that uses a store, such as a Database: jobs run on it one at a time in FIFO order. The queue is
// bounded: TryPost refuses when it is full, Run waits for room. Thread-safe. The destructor stops the thread.
template <typename Store>
class StoreThread {
 public:
  using Job = std::function<void(Store&)>;

  // Owns the store, which is destroyed on the thread.
  StoreThread(std::unique_ptr<Store> store, size_t max_queued)
      : max_queued_(max_queued), store_(std::move(store)), thread_([this] { Loop(); }) {}
  ~StoreThread() { Stop(); }
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  // For threads that must not wait. False when the queue is full or the thread has stopped: the job was not taken.
  [[nodiscard]] bool TryPost(Job job) { return Post(std::move(job), max_queued_); }

  // For a job that gives back what an earlier one took, so that there are no more of them than of those: it is taken
  // however many wait. False when the thread has stopped.
  [[nodiscard]] bool PostOwed(Job job) { return Post(std::move(job), std::numeric_limits<size_t>::max()); }

  // For threads that may wait: returns when the job has run. False when the thread has stopped, and the job has not
  // run. Not from a job.
  bool Run(absl::FunctionRef<void(Store&)> job) {
    bool done = false;
    base::MutexLock lock(&mutex_);
    while (!stopping_ && jobs_.size() >= max_queued_) changed_.Wait(&mutex_);
    if (stopping_) return false;
    jobs_.push_back([this, &job, &done](Store& store) {
      job(store);
      base::MutexLock done_lock(&mutex_);
      done = true;
    });
    changed_.NotifyAll();
    while (!done) changed_.Wait(&mutex_);
    return true;
  }

  // Runs what is queued, destroys the store, joins. Later jobs are refused. Idempotent.
  void Stop() {
    {
      base::MutexLock lock(&mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
  }

  size_t queued() const {
    base::MutexLock lock(&mutex_);
    return jobs_.size();
  }

 private:
  bool Post(Job job, size_t max_queued) {
    base::MutexLock lock(&mutex_);
    if (stopping_ || jobs_.size() >= max_queued) return false;
    jobs_.push_back(std::move(job));
    changed_.NotifyAll();
    return true;
  }

  void Loop() {
    while (true) {
      Job job;
      {
        base::MutexLock lock(&mutex_);
        while (jobs_.empty() && !stopping_) changed_.Wait(&mutex_);
        if (jobs_.empty()) break;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job(*store_);
      job = nullptr;  // what it holds is freed before somebody is told
      base::MutexLock lock(&mutex_);
      changed_.NotifyAll();
    }
    store_.reset();
  }

  const size_t max_queued_;
  std::unique_ptr<Store> store_;  // the thread's own

  mutable base::Mutex mutex_;
  base::CondVar changed_;  // a job came or went, one that somebody waits for has run, or the end
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

}  // namespace hadal::storage
