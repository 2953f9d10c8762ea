// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/base/metrics.h"

namespace hadal::admission {

class KvPoolLedger;

// Reserved bytes of one KV pool. Move-only RAII; an empty lease holds nothing. The pool must outlive it.
class MemoryLease {
 public:
  MemoryLease() = default;
  MemoryLease(MemoryLease&& other) noexcept;
  MemoryLease& operator=(MemoryLease&& other) noexcept;
  ~MemoryLease() { Release(); }

  int64_t bytes() const { return bytes_; }
  // Gives the bytes back now; later calls do nothing.
  void Release();
  // Splits off `bytes` (at most those it has) as a separate lease.
  MemoryLease Split(int64_t bytes);
  // Adds what another lease of the same pool holds.
  void Merge(MemoryLease other);

 private:
  friend class KvPoolLedger;
  MemoryLease(KvPoolLedger* pool, int64_t bytes) : pool_(pool), bytes_(bytes) {}
  KvPoolLedger* pool_ = nullptr;
  int64_t bytes_ = 0;
};

// The leases of one model's KV pool: a count of bytes that never exceeds the pool. While the server's budget is smaller
// than at the start, new leases stay within a limit below the pool; what is leased stays leased. Thread-safe and
// lock-free.
class KvPoolLedger {
 public:
  explicit KvPoolLedger(int64_t capacity_bytes) : capacity_bytes_(capacity_bytes), limit_bytes_(capacity_bytes) {}

  // ResourceExhausted when fewer than `bytes` and `kept_free` are free; then nothing is reserved. 0 is a valid, empty
  // reservation.
  absl::StatusOr<MemoryLease> TryLease(int64_t bytes, int64_t kept_free = 0);

  // Of new leases together with those there are; within 0 and the capacity.
  void SetLimit(int64_t bytes);

  int64_t capacity_bytes() const { return capacity_bytes_; }
  int64_t limit_bytes() const { return limit_bytes_.load(std::memory_order_acquire); }
  int64_t leased_bytes() const { return leased_bytes_.load(std::memory_order_acquire); }
  int64_t available_bytes() const { return std::max<int64_t>(0, headroom_bytes()); }
  // The same, below 0 while more is leased than the limit allows: that must return before anything is available.
  int64_t headroom_bytes() const { return limit_bytes() - leased_bytes(); }
  int64_t active_leases() const { return active_leases_.load(std::memory_order_acquire); }

 private:
  friend class MemoryLease;
  void Return(int64_t bytes);

  const int64_t capacity_bytes_;
  std::atomic<int64_t> limit_bytes_;
  std::atomic<int64_t> leased_bytes_{0};
  std::atomic<int64_t> active_leases_{0};
};

// The server's memory budget on a device and the parts committed from it: weights, workspace and KV pools, each by
// name. Counts only the server's own bytes against its budget; memory of other processes is not considered. An unknown
// size is an error, never 0. Thread-safe.
class MemoryLedger {
 public:
  // InvalidArgument unless budget_bytes > 0. `metrics` outlives the ledger; nullptr: not exported.
  static absl::StatusOr<std::unique_ptr<MemoryLedger>> Create(int64_t budget_bytes,
                                                              base::MetricRegistry* metrics = nullptr);

  // Commits a fixed part for the life of the process. InvalidArgument for a negative size (an unknown one);
  // ResourceExhausted, naming part, size and rest, when the budget would be exceeded.
  absl::Status Commit(std::string_view name, int64_t bytes);
  // Commits a KV pool; the pointer lives as long as the ledger.
  absl::StatusOr<KvPoolLedger*> CommitKvPool(std::string_view name, int64_t bytes);

  // The budget at present: at most the one of the start, for which everything was allocated. What it lacks for the
  // parts that are committed is taken from the KV pools, in proportion to their sizes, as limits of their leases;
  // nothing is freed, and nothing that runs is ended. Any thread.
  void SetBudget(int64_t bytes);
  int64_t budget_bytes() const { return budget_bytes_.load(std::memory_order_acquire); }
  int64_t initial_budget_bytes() const { return initial_budget_bytes_; }
  // All parts, KV pools as a whole.
  int64_t committed_bytes() const { return committed_bytes_.load(std::memory_order_acquire); }
  // The fixed parts, and what is leased of the KV pools.
  int64_t used_bytes() const;

  struct Part {
    std::string name;
    int64_t bytes = 0;
  };
  std::vector<Part> parts() const;

 private:
  MemoryLedger(int64_t budget_bytes, base::MetricRegistry* metrics);

  const int64_t initial_budget_bytes_;
  std::atomic<int64_t> budget_bytes_;
  std::atomic<int64_t> committed_bytes_{0};
  mutable base::Mutex mutex_;
  std::vector<Part> parts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<KvPoolLedger>> pools_ ABSL_GUARDED_BY(mutex_);

  base::Family<base::Gauge> budget_;
  base::Family<base::Gauge> used_;
  base::MetricCollector collector_;
};

// "6.2GB": units of 10^9 bytes with one decimal, a format that operators grep for; MB, KB or bytes for smaller sizes,
// so that a size above 0 is never shown as 0.0.
std::string FormatBytes(int64_t bytes);

}  // namespace hadal::admission
