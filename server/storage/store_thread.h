// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/sync.h"
#include "server/storage/database.h"

namespace hadal::storage {

// The one thread that uses a database: jobs run on it in the order in which they came, each alone. What waits is
// bounded: TryPost refuses when the queue is full, Run waits for room. Thread-safe. The destructor stops it.
class StoreThread {
 public:
  using Job = std::function<void(Database&)>;

  // Owns the database, which is closed on the thread.
  StoreThread(std::unique_ptr<Database> database, size_t max_queued);
  ~StoreThread() { Stop(); }
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  // For threads that must not wait. False when the queue is full or the thread has stopped: the job was not taken.
  [[nodiscard]] bool TryPost(Job job);
  // For threads that may wait: returns when the job has run. False when the thread has stopped, and the job has not
  // run. Not from a job.
  bool Run(absl::FunctionRef<void(Database&)> job);
  // Runs what is queued, closes the database, joins. Later jobs are refused. Idempotent.
  void Stop();

  size_t queued() const;

 private:
  void Loop();

  const size_t max_queued_;
  std::unique_ptr<Database> database_;  // the thread's own

  mutable base::Mutex mutex_;
  base::CondVar changed_;  // a job came or went, one that somebody waits for has run, or the end
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

}  // namespace hadal::storage
