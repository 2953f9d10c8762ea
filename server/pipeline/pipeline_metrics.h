// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/base/metrics.h"
#include "server/pipeline/step_codec.h"

namespace hadal::pipeline {

// What is counted of the workers that hold a model's later layers, in their order. Thread-safe; `registry` outlives
// this, or is null.
struct PipelineMetrics {
  static constexpr double kStepBuckets[] = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10};

  PipelineMetrics(base::MetricRegistry* registry, const std::vector<std::string>& workers)
      : registry(registry), series(base::SeriesOf(workers)), stages(base::SeriesOf(Stages(workers))) {}

  base::MetricRegistry* const registry;
  const std::vector<base::LabelValues> series, stages;

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
  base::Family<base::Histogram> wait{registry,
                                     {.name = "hadal_pipeline_wait_seconds",
                                      .help = "Time from handing a step to the worker until its samples are back.",
                                      .labels = {"worker"},
                                      .series = series,
                                      .buckets = kStepBuckets}};
  // What a stage has idled while there was work is the sum of the period less that of the stage.
  base::Family<base::Histogram> stage{
      registry,
      {.name = "hadal_pipeline_stage_seconds",
       .help = "Time of a step that the stage's own layers take: the server's, or those of a worker.",
       .labels = {"stage"},
       .series = stages,
       .buckets = kStepBuckets}};
  base::Family<base::Histogram> period{
      registry,
      {.name = "hadal_pipeline_period_seconds",
       .help =
           "Time by which a step has prolonged the time that steps are under way: from its begin, or the end of the "
           "step before when that is later, to its end.",
       .buckets = kStepBuckets}};

  // Of one step: when the server began it, when its samples were there, and what the server and then each worker
  // measured. In the order of the steps, by one thread.
  void RecordStep(absl::Time begun, absl::Time ended, const std::vector<PartFacts>& facts) {
    period.Get().Observe(absl::ToDoubleSeconds(ended - std::max(begun, last_end_)));
    last_end_ = ended;
    for (size_t i = 0; i < facts.size() && i < stages.size(); ++i) {
      stage.At(i).Observe(static_cast<double>(facts[i].busy_us) * 1e-6);
      if (i == series.size()) break;  // nothing comes after the last
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

 private:
  static std::vector<std::string> Stages(std::vector<std::string> workers) {
    workers.insert(workers.begin(), "server");
    return workers;
  }

  absl::Time last_end_ = absl::InfinitePast();
};

}  // namespace hadal::pipeline
