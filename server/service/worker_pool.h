// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::service {

// Threads for work that is too long for an I/O thread: parsing, rendering, tokenising. The queue is bounded; a full
// pool refuses, it never blocks. Thread-safe. The destructor runs what is queued, then joins.
class WorkerPool {
 public:
  // At least one thread; at most `max_queued` jobs wait.
  WorkerPool(int threads, size_t max_queued);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when the queue is full or the pool has stopped; the job was not taken then.
  [[nodiscard]] bool TryPost(std::function<void()> job);
  // Runs what is queued, joins the threads; later jobs are refused. Idempotent.
  void Stop();

 private:
  void Run();

  const size_t max_queued_;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace hadal::service
