// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "server/base/metrics.h"
#include "server/pipeline/step_codec.h"

namespace hadal::pipeline {

// What is counted of the workers that hold a model's later layers, in their order. Thread-safe; `registry` outlives
// this, or is null.
struct PipelineMetrics {
  static constexpr double kStepBuckets[] = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10};

  PipelineMetrics(base::MetricRegistry* registry, const std::vector<std::string>& workers)
      : registry(registry), series(base::SeriesOf(workers)) {}

  base::MetricRegistry* const registry;
  const std::vector<base::LabelValues> series;

  base::Family<base::Gauge> worker_up{registry,
                                      {.name = "hadal_pipeline_worker_up",
                                       .help = "1 while the worker holds its layers and can be reached.",
                                       .labels = {"worker"},
                                       .series = series}};
  base::Family<base::Counter> sent_bytes{registry,
                                         {.name = "hadal_pipeline_sent_bytes_total",
                                          .help = "Bytes sent to the worker by the host that holds the layers before.",
                                          .labels = {"worker"},
                                          .series = series}};
  base::Family<base::Histogram> wait{
      registry,
      {.name = "hadal_pipeline_wait_seconds",
       .help = "Time of a step that the host before has waited for the worker, those behind it included.",
       .labels = {"worker"},
       .series = series,
       .buckets = kStepBuckets}};

  // Of one step: one entry for each worker.
  void RecordStep(const std::vector<PartFacts>& facts) {
    for (size_t i = 0; i < facts.size() && i < series.size(); ++i) {
      sent_bytes.At(i).Increment(facts[i].sent_bytes);
      wait.At(i).Observe(static_cast<double>(facts[i].wait_us) * 1e-6);
    }
  }
  void SetAllUp() {
    for (size_t i = 0; i < series.size(); ++i) worker_up.At(i).Set(1);
  }
  void SetLost(const std::string& worker) {
    for (size_t i = 0; i < series.size(); ++i) {
      if (series[i].front() == worker) worker_up.At(i).Set(0);
    }
  }
};

}  // namespace hadal::pipeline
