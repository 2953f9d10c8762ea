// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::batches {

// What files and batches do. Thread-safe; `registry` may be null, else it outlives this.
struct BatchMetrics {
  explicit BatchMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  enum Outcome : size_t { kCompleted, kFailed, kPutBack };
  base::Family<base::Counter> lines{registry,
                                    {.name = "hadal_batch_lines_total",
                                     .help = "Attempts at lines of batches: completed, failed, or put back to wait.",
                                     .labels = {"outcome"},
                                     .series = {{"completed"}, {"failed"}, {"put_back"}}}};
  enum State : size_t { kWaiting, kRunning };
  base::Family<base::Gauge> open_lines{registry,
                                       {.name = "hadal_batch_lines",
                                        .help = "Lines of batches that have not ended.",
                                        .labels = {"state"},
                                        .series = {{"waiting"}, {"running"}}}};
  base::Family<base::Gauge> window{
      registry, {"hadal_batch_window", "Lines of batches that may be in flight at a time, learnt from refusals."}};
  base::Family<base::Gauge> batches{registry, {"hadal_batches", "Batches that have not ended."}};
  base::Family<base::Gauge> store_bytes{
      registry, {"hadal_batch_store_bytes", "Bytes of the database of files and batches that are in use."}};
  base::Family<base::Counter> store_errors{
      registry, {"hadal_batch_store_errors_total", "Writes of the batch runner that the database refused."}};
};

}  // namespace hadal::batches
