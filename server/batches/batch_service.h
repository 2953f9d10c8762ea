// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/base/metrics.h"
#include "server/batches/batch_metrics.h"
#include "server/batches/batch_options.h"
#include "server/batches/batch_runner.h"
#include "server/batches/batch_store.h"
#include "server/batches/line_executor.h"

namespace hadal::batches {

// Files and batches of one server: the store that routes ask, and the runner. Thread-safe, but for Start and Stop,
// which are for one thread at a time.
class BatchService {
 public:
  // Errors of BatchStore::Open. `metrics` outlive the service.
  static absl::StatusOr<std::unique_ptr<BatchService>> Open(const BatchOptions& options, BatchMetrics* metrics);
  ~BatchService() { Stop(); }

  // Begins to run lines. The executor lives until Stop has returned.
  void Start(std::unique_ptr<LineExecutor> executor);
  void BeginDrain();
  // Lines that run are put back; the store is closed.
  void Stop();

  // For routes: has `job` run on the store's thread. False when too much waits there, or after Stop.
  [[nodiscard]] bool TryPost(std::function<void(Tables&)> job) { return store_->TryPost(std::move(job)); }
  // The same, for a job that gives back what an earlier one took: however much waits. False after Stop.
  [[nodiscard]] bool PostOwed(std::function<void(Tables&)> job) { return store_->PostOwed(std::move(job)); }
  // A route has made a batch or has one cancelled.
  void Wake();
  const BatchOptions& options() const { return store_->options(); }
  // Wall clock.
  static int64_t UnixSeconds();

 private:
  BatchService(std::unique_ptr<BatchStore> store, BatchMetrics* metrics);

  BatchMetrics& metrics_;
  std::unique_ptr<BatchStore> store_;
  std::unique_ptr<LineExecutor> executor_;
  std::unique_ptr<BatchRunner> runner_;
  base::Mutex mutex_;
  BatchRunner* running_ ABSL_GUARDED_BY(mutex_) = nullptr;  // for Wake
  base::MetricCollector size_;                              // reads the members above
};

}  // namespace hadal::batches
