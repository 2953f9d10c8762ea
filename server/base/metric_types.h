// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

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

// A level. Thread-safe and lock-free.
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
  explicit Histogram(std::vector<double> upper_bounds);
  void Observe(double value) { ObserveMany(value, 1); }
  // As `count` calls of Observe(value).
  void ObserveMany(double value, uint64_t count);

  const std::vector<double>& upper_bounds() const { return upper_bounds_; }
  // Counts of each bucket alone, +Inf last; not cumulative.
  std::vector<uint64_t> BucketCounts() const;
  double Sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> upper_bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

using LabelValues = std::vector<std::string>;

// One metric name with its label names and series. Series are created once and never removed, so references stay valid.
// With() takes a short lock when called; hot paths keep the reference. At most `max_series` series exist: later label
// values are counted under "other" in every label, so that no client can grow the text.
template <typename T>
class Family {
 public:
  Family(std::string name, std::string help, std::vector<std::string> labels, std::vector<double> bounds = {},
         size_t max_series = 1000)
      : name_(std::move(name)),
        help_(std::move(help)),
        labels_(std::move(labels)),
        bounds_(std::move(bounds)),
        max_series_(max_series) {
    if (labels_.empty()) With({});
  }

  T& With(const LabelValues& values) {
    absl::MutexLock lock(&mutex_);
    auto it = series_.find(values);
    if (it != series_.end()) return *it->second;
    if (series_.size() >= max_series_) {
      return *series_.try_emplace(LabelValues(labels_.size(), "other"), Make()).first->second;
    }
    return *series_.emplace(values, Make()).first->second;
  }
  T& Get() { return *series_.begin()->second; }  // the only series of a family without labels

  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  const std::vector<std::string>& labels() const { return labels_; }
  template <typename F>
  void ForEach(F visit) const {
    absl::MutexLock lock(&mutex_);
    for (const auto& [values, metric] : series_) visit(values, *metric);
  }

 private:
  std::unique_ptr<T> Make() const {
    if constexpr (std::is_constructible_v<T, std::vector<double>>) {
      return std::make_unique<T>(bounds_);
    } else {
      return std::make_unique<T>();
    }
  }

  const std::string name_, help_;
  const std::vector<std::string> labels_;
  const std::vector<double> bounds_;
  const size_t max_series_;
  mutable absl::Mutex mutex_;
  std::map<LabelValues, std::unique_ptr<T>> series_;
};

}  // namespace hadal::base
