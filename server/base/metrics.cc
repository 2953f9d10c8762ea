// SPDX-License-Identifier: Apache-2.0
#include "server/base/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "server/base/check.h"

namespace hadal::base {
namespace {

void SetValue(prometheus::ClientMetric& out, const Counter& metric) {
  out.counter.value = static_cast<double>(metric.Value());
}
void SetValue(prometheus::ClientMetric& out, const Gauge& metric) { out.gauge.value = metric.Value(); }
void SetValue(prometheus::ClientMetric& out, const Histogram& metric) {
  const std::vector<uint64_t> counts = metric.BucketCounts();
  uint64_t cumulative = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulative += counts[i];
    const double bound =
        i < metric.upper_bounds().size() ? metric.upper_bounds()[i] : std::numeric_limits<double>::infinity();
    out.histogram.bucket.push_back({cumulative, bound});
  }
  out.histogram.sample_count = cumulative;
  out.histogram.sample_sum = metric.Sum();
}

template <typename T>
constexpr prometheus::MetricType TypeOf() {
  if constexpr (std::is_same_v<T, Counter>) return prometheus::MetricType::Counter;
  if constexpr (std::is_same_v<T, Gauge>) return prometheus::MetricType::Gauge;
  return prometheus::MetricType::Histogram;
}

// The family under its other name, with the labels in front of every series.
prometheus::MetricFamily Renamed(prometheus::MetricFamily family, const MetricAlias& alias) {
  family.name = alias.name;
  for (prometheus::ClientMetric& metric : family.metric) {
    std::vector<prometheus::ClientMetric::Label> labels;
    for (const auto& [name, value] : alias.labels) labels.push_back({name, value});
    metric.label.insert(metric.label.begin(), labels.begin(), labels.end());
  }
  return family;
}

}  // namespace

void MetricRegistry::Add(const MetricFamily* family) {
  MutexLock lock(&mutex_);
  for (const MetricFamily* other : families_) {
    HADAL_CHECK(other->name() != family->name()) << "two metrics are called " << family->name();
  }
  families_.push_back(family);
}

void MetricRegistry::Remove(const MetricFamily* family) {
  MutexLock lock(&mutex_);
  std::erase(families_, family);
}

void MetricRegistry::Add(const Collect* collect) {
  MutexLock lock(&mutex_);
  collectors_.push_back(collect);
}

void MetricRegistry::Remove(const Collect* collect) {
  MutexLock lock(&mutex_);
  std::erase(collectors_, collect);
}

void MetricRegistry::AddAlias(MetricAlias alias) {
  MutexLock lock(&mutex_);
  for (const MetricFamily* family : families_) {
    HADAL_CHECK(family->name() != alias.name) << "two metrics are called " << alias.name;
  }
  for (const MetricAlias& other : aliases_) {
    HADAL_CHECK(other.name != alias.name) << "two metrics are called " << alias.name;
  }
  aliases_.push_back(std::move(alias));
}

std::string MetricRegistry::Expose() {
  MutexLock lock(&mutex_);
  for (const Collect* collect : collectors_) (*collect)();
  std::vector<prometheus::MetricFamily> out;
  out.reserve(families_.size() + aliases_.size());
  for (const MetricFamily* family : families_) out.push_back(family->Collect());
  for (const MetricAlias& alias : aliases_) {
    for (size_t i = 0; i < families_.size(); ++i) {
      if (families_[i]->name() == alias.source) out.push_back(Renamed(out[i], alias));
    }
  }
  return prometheus::TextSerializer().Serialize(out);
}

template <typename T>
prometheus::MetricFamily Family<T>::Collect() const {
  prometheus::MetricFamily out{spec_.name, spec_.help, TypeOf<T>(), {}};
  MutexLock lock(&mutex_);
  for (const auto& [values, metric] : series_) {
    prometheus::ClientMetric& client = out.metric.emplace_back();
    for (size_t i = 0; i < values.size(); ++i) client.label.push_back({spec_.labels[i], values[i]});
    SetValue(client, *metric);
  }
  return out;
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

}  // namespace hadal::base
