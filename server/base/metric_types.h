// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace hadal::base {

// Counts events. Thread-safe and lock-free; sharded by thread, so that front ends and engine do not share a cache line.
class Counter {
 public:
  void Increment(uint64_t by = 1) { shards_[Shard()].value.fetch_add(by, std::memory_order_relaxed); }
  uint64_t Value() const;

 private:
  static constexpr size_t kShards = 8;
  struct alignas(64) Cell {
    std::atomic<uint64_t> value{0};
  };
  static size_t Shard();
  std::array<Cell, kShards> shards_;
};

// A value that goes up and down. Thread-safe and lock-free.
class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double by) { value_.fetch_add(by, std::memory_order_relaxed); }
  double Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Distribution over fixed upper bounds (ascending; the last bucket, +Inf, is implied). Thread-safe and lock-free.
class Histogram {
 public:
  explicit Histogram(std::span<const double> upper_bounds);
  void Observe(double value) { ObserveMany(value, 1); }
  // As `count` calls of Observe(value).
  void ObserveMany(double value, uint64_t count);

  const std::vector<double>& upper_bounds() const { return upper_bounds_; }
  // The count of each bucket, not cumulative; +Inf last.
  std::vector<uint64_t> BucketCounts() const;
  double Sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> upper_bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace hadal::base
