// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/base/metric_types.h"

namespace prometheus {
struct MetricFamily;
}

namespace hadal::base {

class MetricRegistry;

using LabelValues = std::vector<std::string>;

// What a metric is called and means. Names are an interface: docs/metrics.md lists them, k8s/ and alerts use them.
struct MetricSpec {
  std::string name;
  std::string help;
  std::vector<std::string> labels = {};
  // Values of `labels` whose series exist as 0 from the start. A metric without labels has one series.
  std::vector<LabelValues> series = {};
  std::span<const double> buckets = {};  // of a histogram: ascending upper bounds; +Inf is implied
  // Series beyond this many are counted as one with "other" in every label, so that no client can grow the text.
  size_t max_series = 1000;
};

// What the registry sees of a Family.
class MetricFamily {
 public:
  virtual ~MetricFamily() = default;
  virtual const std::string& name() const = 0;
  virtual prometheus::MetricFamily Collect() const = 0;
};

// A second name of a metric, for dashboards and routers that were made for another server.
struct MetricAlias {
  std::string source;  // name of the family
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels = {};  // of every series, before the family's own
};

// Walks the metrics of a process for a scrape. It knows no metric by name: each part declares a struct of families
// next to its code, and constructing that struct registers them. Thread-safe; outlives what is registered in it.
class MetricRegistry {
 public:
  MetricRegistry() = default;
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // Runs the collectors, then writes every family as Prometheus text format 0.0.4, in the order of registration, and
  // after them the aliases.
  std::string Expose();

  // From now on every Expose also writes the family `alias.source` under this name. Nothing is written while no such
  // family is registered. The name must be that of no family and no other alias.
  void AddAlias(MetricAlias alias);

 private:
  template <typename T>
  friend class Family;
  friend class MetricCollector;
  using Collect = std::function<void()>;

  void Add(const MetricFamily* family);
  void Remove(const MetricFamily* family);
  void Add(const Collect* collect);
  void Remove(const Collect* collect);

  Mutex mutex_;  // held during a scrape; updating a metric never takes it
  std::vector<const MetricFamily*> families_ ABSL_GUARDED_BY(mutex_);
  std::vector<const Collect*> collectors_ ABSL_GUARDED_BY(mutex_);
  std::vector<MetricAlias> aliases_ ABSL_GUARDED_BY(mutex_);
};

// Brings gauges that mirror other state up to date: calls `collect` at the start of every Expose until it is
// destroyed, one call at a time. `collect` creates and destroys no families or collectors.
class MetricCollector {
 public:
  // `registry` may be null: then `collect` is never called.
  MetricCollector(MetricRegistry* registry, std::function<void()> collect)
      : registry_(registry), collect_(std::move(collect)) {
    if (registry_ != nullptr) registry_->Add(&collect_);
  }
  ~MetricCollector() {
    if (registry_ != nullptr) registry_->Remove(&collect_);
  }
  MetricCollector(const MetricCollector&) = delete;
  MetricCollector& operator=(const MetricCollector&) = delete;

 private:
  MetricRegistry* const registry_;
  const std::function<void()> collect_;
};

// One metric with its series. T is Counter, Gauge or Histogram. Series are created once and never removed, so
// references stay valid while the family lives. Thread-safe.
template <typename T>
class Family final : public MetricFamily {
 public:
  // Registers itself until it is destroyed; the name must not be registered yet. `registry` may be null: then the
  // metric is counted and not exported.
  Family(MetricRegistry* registry, MetricSpec spec) : registry_(registry), spec_(std::move(spec)) {
    if (spec_.labels.empty()) spec_.series = {{}};
    for (const LabelValues& values : spec_.series) declared_.push_back(&With(values));
    if (registry_ != nullptr) registry_->Add(this);
  }
  ~Family() override {
    if (registry_ != nullptr) registry_->Remove(this);
  }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;

  // The only series of a metric without labels. Lock-free.
  T& Get() { return At(0); }
  // The series at `index` of MetricSpec::series. Lock-free.
  T& At(size_t index) { return *declared_[index]; }
  // The series with these label values. Takes a short lock; not for the engine's steps.
  T& With(const LabelValues& values) {
    MutexLock lock(&mutex_);
    auto it = series_.find(values);
    if (it != series_.end()) return *it->second;
    if (series_.size() >= spec_.max_series) {
      return *series_.try_emplace(LabelValues(spec_.labels.size(), "other"), Make()).first->second;
    }
    return *series_.emplace(values, Make()).first->second;
  }

  const std::string& name() const override { return spec_.name; }
  prometheus::MetricFamily Collect() const override;

 private:
  std::unique_ptr<T> Make() const {
    if constexpr (std::is_same_v<T, Histogram>) {
      return std::make_unique<T>(spec_.buckets);
    } else {
      return std::make_unique<T>();
    }
  }

  MetricRegistry* const registry_;
  MetricSpec spec_;
  std::vector<T*> declared_;  // of spec_.series
  mutable Mutex mutex_;
  std::map<LabelValues, std::unique_ptr<T>> series_ ABSL_GUARDED_BY(mutex_);
};

// MetricSpec::series of one label.
template <typename Range>
std::vector<LabelValues> SeriesOf(const Range& values) {
  std::vector<LabelValues> series;
  for (const auto& value : values) series.push_back({std::string(value)});
  return series;
}

// Bounds for times that callers wait: for a first token, in a queue, for a grammar. They follow vLLM's, extended at
// the lower end.
inline constexpr double kWaitBuckets[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};

}  // namespace hadal::base
