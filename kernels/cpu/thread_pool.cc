// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/thread_pool.h"

#include <algorithm>
#include <chrono>

namespace hadal::kernels::cpu {
namespace {

// How long a worker looks for the next loop before it sleeps. A wake-up costs about as much.
constexpr std::chrono::microseconds kSpin(30);
// The caller waits for stragglers actively at first: pieces are short.
constexpr int kSpinsBeforeYield = 4096;

constexpr int kLoopShift = 32;
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInside = kOpen - 1;

uint64_t LoopNumber(uint64_t gate) { return gate >> kLoopShift; }

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { WorkerLoop(i); });
}

ThreadPool::~ThreadPool() {
  {
    base::MutexLock lock(&mutex_);
    stop_.store(true, std::memory_order_relaxed);
    gate_.fetch_add(uint64_t{1} << kLoopShift, std::memory_order_release);
  }
  wake_.NotifyAll();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t count, int64_t grain, Body body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (workers_.empty() || count <= grain) {
    body(0, count, 0);
    return;
  }
  body_ = &body;
  count_ = count;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  bool sleeping;
  {
    base::MutexLock lock(&mutex_);
    const uint64_t loop = LoopNumber(gate_.load(std::memory_order_relaxed)) + 1;
    gate_.store(loop << kLoopShift | kOpen, std::memory_order_release);
    sleeping = sleepers_ > 0;
  }
  if (sleeping) wake_.NotifyAll();
  RunPieces(0);
  gate_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (gate_.load(std::memory_order_acquire) & kInside) != 0; ++spins) {
    if (spins < kSpinsBeforeYield) {
      Relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::RunPieces(int worker) {
  for (;;) {
    const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= count_) return;
    (*body_)(begin, std::min(count_, begin + grain_), worker);
  }
}

void ThreadPool::WorkerLoop(int worker) {
  uint64_t seen = 0;
  const auto is_new = [&] { return LoopNumber(gate_.load(std::memory_order_acquire)) != seen; };
  for (;;) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    while (!is_new() && std::chrono::steady_clock::now() < deadline) Relax();
    if (!is_new()) {
      base::MutexLock lock(&mutex_);
      ++sleepers_;
      while (!is_new()) wake_.Wait(&mutex_);
      --sleepers_;
    }
    if (stop_.load(std::memory_order_relaxed)) return;
    uint64_t gate = gate_.load(std::memory_order_acquire);
    seen = LoopNumber(gate);
    while ((gate & kOpen) != 0 && LoopNumber(gate) == seen) {
      if (!gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) continue;
      RunPieces(worker);
      gate_.fetch_sub(1, std::memory_order_release);
      break;
    }
  }
}

}  // namespace hadal::kernels::cpu
