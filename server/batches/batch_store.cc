// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_store.h"

#include "absl/strings/str_cat.h"
#include "server/batches/schema.h"

namespace hadal::batches {
namespace {

// Jobs that may wait for the thread: each is short, and a client's holds at most a piece of a file.
constexpr size_t kMaxJobs = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<BatchStore>> BatchStore::Open(const BatchOptions& options) {
  storage::DatabaseOptions database = {.path = options.store + "/batches.db",
                                       .application_id = kApplicationId,
                                       .migrations = kMigrations,
                                       .exclusive = true,
                                       .max_bytes = options.store_bytes};
  absl::StatusOr<std::unique_ptr<storage::Database>> opened = storage::Database::Open(database);
  if (!opened.ok()) {
    return absl::Status(opened.status().code(), absl::StrCat("--batch-store: ", opened.status().message()));
  }
  std::unique_ptr<BatchStore> store(new BatchStore(options, *std::move(opened)));
  // What a process that was killed has left.
  absl::Status status = store->Run([](Tables& tables) { return tables.files.DeleteUnfinished(); });
  if (!status.ok()) return absl::Status(status.code(), absl::StrCat("--batch-store: ", status.message()));
  return store;
}

BatchStore::BatchStore(const BatchOptions& options, std::unique_ptr<storage::Database> database)
    : options_(options),
      tables_{*database, FileTable(database.get(), &options_), BatchTable(database.get(), &options_)},
      thread_(std::move(database), kMaxJobs) {}

bool BatchStore::TryPost(std::function<void(Tables&)> job) {
  return thread_.TryPost([this, job = std::move(job)](storage::Database&) { job(tables_); });
}

absl::Status BatchStore::Run(absl::FunctionRef<absl::Status(Tables&)> job) {
  absl::Status status;
  const bool ran = thread_.Run([&](storage::Database&) { status = job(tables_); });
  return ran ? status : absl::UnavailableError("the store of files and batches is closed");
}

}  // namespace hadal::batches
