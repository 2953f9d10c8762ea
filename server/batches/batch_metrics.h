// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::batches {

// The metrics of files and batches. Thread-safe; `registry` may be null, else it outlives this.
struct BatchMetrics {
  explicit BatchMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  enum Outcome : size_t { kCompleted, kFailed, kPutBack, kLate };
  base::Family<base::Counter> lines{registry,
                                    {.name = "hadal_batch_lines_total",
                                     .help = "Attempts at lines of batches: completed, failed, put back to wait, or "
                                             "late, when another replica's result was first.",
                                     .labels = {"outcome"},
                                     .series = {{"completed"}, {"failed"}, {"put_back"}, {"late"}}}};
  base::Family<base::Counter> taken_over{
      registry,
      {"hadal_batch_lines_taken_over_total", "Lines of batches taken over from replicas that had gone silent."}};
  enum State : size_t { kWaiting, kRunning };
  base::Family<base::Gauge> open_lines{registry,
                                       {.name = "hadal_batch_lines",
                                        .help = "Lines of batches that have not ended.",
                                        .labels = {"state"},
                                        .series = {{"waiting"}, {"running"}}}};
  base::Family<base::Gauge> window{
      registry, {"hadal_batch_window", "Lines of batches that may be in flight at a time, learnt from refusals."}};
  base::Family<base::Gauge> batches{registry, {"hadal_batches", "Batches that have not ended."}};
  base::Family<base::Gauge> oldest_window{
      registry,
      {"hadal_batch_oldest_window_ratio",
       "Largest share of its completion window that a batch has used which has not ended; at 1 it expires."}};
  base::Family<base::Gauge> store_bytes{registry,
                                        {"hadal_batch_store_bytes", "Bytes that the store of files and batches uses."}};
  base::Family<base::Gauge> store_circuit{
      registry,
      {"hadal_batch_store_circuit_state", "Redis of files and batches: 0 is asked, 1 asked once to see, 2 not asked."}};
  base::Family<base::Counter> store_errors{
      registry, {"hadal_batch_store_errors_total", "Reads and writes of the batch runner that the store refused."}};
};

}  // namespace hadal::batches
