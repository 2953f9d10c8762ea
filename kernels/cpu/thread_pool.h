// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/sync.h"

namespace hadal::kernels::cpu {

// Runs loops on a fixed set of threads; the calling thread works too, so `threads` = 1 starts none. Between loops the
// workers look for new work for some microseconds, since ops follow each other closely, and then sleep: an idle pool
// uses no processor time. Used by one thread at a time; loops do not nest.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, worker) over [0, count) in pieces of at most `grain`, handed out in order to whoever is
  // free. worker is in [0, threads()). Returns when all pieces are done; their writes are visible to the caller. A
  // worker that wakes too late to get a piece is not waited for.
  using Body = absl::FunctionRef<void(int64_t begin, int64_t end, int worker)>;
  void ParallelFor(int64_t count, int64_t grain, Body body);

 private:
  void WorkerLoop(int worker);
  void RunPieces(int worker);

  std::vector<std::thread> workers_;
  base::Mutex mutex_;
  base::CondVar wake_;
  int sleepers_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> stop_{false};
  // Who may work on the current loop: its number in the upper half, then whether it is open, then the workers inside.
  std::atomic<uint64_t> gate_{0};
  // The current loop. Changed only while the gate is closed and nobody is inside.
  const Body* body_ = nullptr;
  int64_t count_ = 0;
  int64_t grain_ = 1;
  std::atomic<int64_t> next_{0};
};

}  // namespace hadal::kernels::cpu
