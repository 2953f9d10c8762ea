// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/strings/str_cat.h"
#include "models/layer_range.h"
#include "models/model.h"
#include "server/base/metrics.h"
#include "server/pipeline/pipeline_metrics.h"

namespace hadal::pipeline {

// What a worker counts of its work for leaders. Thread-safe; `registry` outlives this, or is null.
struct WorkerMetrics {
  explicit WorkerMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  base::Family<base::Gauge> leader_connected{
      registry, {"hadal_pipeline_leader_connected", "1 while a leader holds this worker, be it to load the layers."}};
  base::Family<base::Counter> leaders{registry,
                                      {"hadal_pipeline_leaders_total", "Leaders that have been served or are."}};
  base::Family<base::Gauge> part_info{registry,
                                      {.name = "hadal_pipeline_part_info",
                                       .help = "1 while the layers are loaded; which, and where.",
                                       .labels = {"layers", "family", "dtype", "device"}}};
  base::Family<base::Histogram> step{
      registry,
      {.name = "hadal_pipeline_step_seconds",
       .help = "Time of a step that this worker's own layers take, without those behind it.",
       .buckets = PipelineMetrics::kStepBuckets}};
  base::Family<base::Histogram> leader_wait{
      registry,
      {.name = "hadal_pipeline_leader_wait_seconds",
       .help = "Time from the end of a step until the next one has arrived whole.",
       .buckets = PipelineMetrics::kStepBuckets}};
  base::Family<base::Counter> received_bytes{
      registry, {"hadal_pipeline_leader_received_bytes_total", "Bytes received from leaders after their greeting."}};
  base::Family<base::Counter> sent_bytes{
      registry, {"hadal_pipeline_leader_sent_bytes_total", "Bytes sent to leaders after their greeting."}};

  void SetPart(const models::LayerRange& layers, const models::ModelInfo& info, bool loaded) {
    part_info.With({absl::StrCat("[", layers.begin, ", ", layers.end, ")"), info.family, info.dtype, info.device})
        .Set(loaded ? 1 : 0);
  }
};

}  // namespace hadal::pipeline
