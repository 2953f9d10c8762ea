// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/batch_options.h"
#include "server/batches/batch_table.h"
#include "server/batches/file_table.h"
#include "server/storage/store_thread.h"

namespace hadal::batches {

// What the store's thread works on.
struct Tables {
  storage::Database& database;
  FileTable files;
  BatchTable batches;
};

// The database of files and batches and the one thread that uses it. Thread-safe.
class BatchStore {
 public:
  // Opens or makes DIR/batches.db. Errors begin with the flag: the folder is missing, another process has the store,
  // the file is damaged or newer than this program.
  static absl::StatusOr<std::unique_ptr<BatchStore>> Open(const BatchOptions& options);

  // StoreThread's.
  [[nodiscard]] bool TryPost(std::function<void(Tables&)> job);
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
  void Stop() { thread_.Stop(); }

  const BatchOptions& options() const { return options_; }

 private:
  BatchStore(const BatchOptions& options, std::unique_ptr<storage::Database> database);

  const BatchOptions options_;
  Tables tables_;  // the thread's own
  storage::StoreThread thread_;
};

}  // namespace hadal::batches
