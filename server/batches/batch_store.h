// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/batch_options.h"
#include "server/batches/tables.h"
#include "server/storage/store_thread.h"

namespace hadal::batches {

// The store of files and batches and the one thread that uses it. Thread-safe.
class BatchStore {
 public:
  // SQLite or Redis, as the options say. Errors name the flag; otherwise they are those of SqliteTables and
  // RedisTables.
  static absl::StatusOr<std::unique_ptr<BatchStore>> Open(const BatchOptions& options);

  // StoreThread's.
  [[nodiscard]] bool TryPost(std::function<void(Tables&)> job) { return thread_->TryPost(std::move(job)); }
  [[nodiscard]] bool PostOwed(std::function<void(Tables&)> job) { return thread_->PostOwed(std::move(job)); }
  // Runs the job and waits. UNAVAILABLE when the store has been stopped.
  absl::Status Run(absl::FunctionRef<absl::Status(Tables&)> job);
  // The same for one that gives something.
  template <typename T>
  absl::StatusOr<T> Ask(absl::FunctionRef<absl::StatusOr<T>(Tables&)> job) {
    absl::StatusOr<T> answer = absl::UnavailableError("not asked");
    absl::Status status = Run([&](Tables& tables) {
      answer = job(tables);
      return answer.status();
    });
    if (!status.ok()) return status;
    return answer;
  }
  void Stop() { thread_->Stop(); }

  const BatchOptions& options() const { return options_; }

 private:
  explicit BatchStore(const BatchOptions& options) : options_(options) {}

  const BatchOptions options_;  // the tables read them
  std::unique_ptr<storage::StoreThread<Tables>> thread_;
};

}  // namespace hadal::batches
