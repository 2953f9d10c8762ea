// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::service {

// Threads for work that is too long for an I/O thread: parsing, rendering, tokenising. Long jobs have a separate lane,
// which at most half of the threads serve, so that short jobs only wait for short ones (a pool of one thread serves
// both in turn). Each lane's queue is bounded; a full queue refuses jobs and never blocks. Thread-safe. The destructor
// runs the queued jobs, then joins.
class WorkerPool {
 public:
  enum class Lane : uint8_t { kShort, kLong };

  // The lane of work over so many bytes: kLong is what takes tens of milliseconds to parse and tokenise.
  static constexpr int64_t kLongBytes = 128 << 10;
  static Lane LaneFor(int64_t bytes) { return bytes > kLongBytes ? Lane::kLong : Lane::kShort; }

  // At least one thread; at most `max_queued` jobs wait in each lane.
  WorkerPool(int threads, size_t max_queued);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when the lane is full or the pool has stopped; the job was not taken then.
  [[nodiscard]] bool TryPost(std::function<void()> job, Lane lane = Lane::kShort);
  // Runs what is queued, joins the threads; later jobs are refused. Idempotent.
  void Stop();

 private:
  using Queue = std::deque<std::function<void()>>;

  void Run(bool takes_long);
  Queue& queue(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queues_[static_cast<size_t>(lane)]; }
  // The queue to serve next, null when the thread finds nothing to do.
  Queue* NextQueue(bool takes_long) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_queued_;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::array<Queue, 2> queues_ ABSL_GUARDED_BY(mutex_);  // by lane
  bool long_is_next_ ABSL_GUARDED_BY(mutex_) = true;     // of the threads that serve both lanes
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace hadal::service
