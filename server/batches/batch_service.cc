// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_service.h"

#include <utility>

#include "absl/time/clock.h"

namespace hadal::batches {

absl::StatusOr<std::unique_ptr<BatchService>> BatchService::Open(const BatchOptions& options, BatchMetrics* metrics) {
  absl::StatusOr<std::unique_ptr<BatchStore>> store = BatchStore::Open(options);
  if (!store.ok()) return store.status();
  return std::unique_ptr<BatchService>(new BatchService(*std::move(store), metrics));
}

BatchService::BatchService(std::unique_ptr<BatchStore> store, BatchMetrics* metrics)
    : metrics_(*metrics), store_(std::move(store)), size_(metrics->registry, [this] {
        // A scrape does not wait for the store: it shows the level of the one before.
        (void)store_->TryPost([this](Tables& tables) {
          const absl::StatusOr<int64_t> bytes = tables.UsedBytes();
          if (bytes.ok()) metrics_.store_bytes.Get().Set(static_cast<double>(*bytes));
          metrics_.store_circuit.Get().Set(tables.circuit());
        });
      }) {}

int64_t BatchService::UnixSeconds() { return absl::ToUnixSeconds(absl::Now()); }

void BatchService::Start(std::unique_ptr<LineExecutor> executor) {
  executor_ = std::move(executor);
  runner_ = std::make_unique<BatchRunner>(BatchRunner::Options{.store = store_.get(),
                                                               .executor = executor_.get(),
                                                               .metrics = &metrics_,
                                                               .clock = base::Clock::Real(),
                                                               .unix_seconds = &BatchService::UnixSeconds});
  base::MutexLock lock(&mutex_);
  running_ = runner_.get();
}

void BatchService::Wake() {
  base::MutexLock lock(&mutex_);
  if (running_ != nullptr) running_->Wake();  // else it reads all batches when it starts
}

void BatchService::BeginDrain() {
  if (runner_ != nullptr) runner_->BeginDrain();
}

void BatchService::Stop() {
  {
    base::MutexLock lock(&mutex_);
    running_ = nullptr;
  }
  runner_.reset();
  executor_.reset();
  store_->Stop();
}

}  // namespace hadal::batches
