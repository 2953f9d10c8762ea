// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/span.h"
#include "server/trace/span_client.h"
#include "server/trace/trace_metrics.h"

namespace hadal::trace {

// Sends spans to a collector in batches, on a separate thread. A collector that is slow, unreachable or rejects spans
// only loses spans: at most `max_spans` wait, later ones are dropped, and a failed batch is retried a few times. Each
// span is counted once in hadal_trace_spans_total, by outcome. Thread-safe.
class OtlpExporter final : public base::SpanSink {
 public:
  struct Options {
    size_t max_spans = 4096;
    size_t batch_spans = 512;
    absl::Duration delay = absl::Seconds(1);      // how long a batch may wait to fill up
    int attempts = 4;                             // at a batch
    absl::Duration backoff = absl::Seconds(1);    // before the second attempt; doubles
    absl::Duration timeout = absl::Seconds(5);    // of an attempt
    absl::Duration last_time = absl::Seconds(5);  // for what waits when the exporter is closed
  };

  // `metrics` outlives the exporter.
  OtlpExporter(std::unique_ptr<SpanClient> client, TraceMetrics* metrics, const Options& options);
  // Sends what waits, within `last_time`; what is under way then is cancelled.
  ~OtlpExporter() override;
  OtlpExporter(const OtlpExporter&) = delete;
  OtlpExporter& operator=(const OtlpExporter&) = delete;

  void Take(std::vector<base::Span> spans) override;

 private:
  void Run();
  // Waits for a batch; empty when the exporter is closed and nothing is left.
  std::vector<base::Span> NextBatch();
  void Send(std::vector<base::Span> batch);
  // False when the exporter is closed: there is no time to wait for.
  bool WaitBeforeRetry(int attempt);
  // For an attempt that begins now.
  absl::Duration TimeLeft();
  // Says once when the collector begins and ceases to fail.
  void Report(const absl::Status& status);

  const std::unique_ptr<SpanClient> client_;
  const Options options_;
  TraceMetrics* const metrics_;
  bool failing_ = false;  // of the thread

  base::Mutex mutex_;
  base::CondVar changed_;
  std::deque<base::Span> queue_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;                            // the thread has sent its last
  absl::Time give_up_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // set when it is closed

  std::thread thread_;
};

}  // namespace hadal::trace
