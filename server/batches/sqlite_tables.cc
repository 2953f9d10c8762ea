// SPDX-License-Identifier: Apache-2.0
#include "server/batches/sqlite_tables.h"

#include <sys/stat.h>

#include <utility>

#include "server/batches/schema.h"

namespace hadal::batches {

absl::StatusOr<std::unique_ptr<SqliteTables>> SqliteTables::Open(const BatchOptions* options) {
  // For its owner alone: prompts are in it. Its parents are not made, so that a mistyped path is an error.
  (void)mkdir(options->Folder().c_str(), 0700);
  auto opened = storage::Database::Open({.path = options->Folder() + "/batches.db",
                                         .application_id = kApplicationId,
                                         .migrations = kMigrations,
                                         .exclusive = true,
                                         .max_bytes = options->store_bytes});
  if (!opened.ok()) return opened.status();
  std::unique_ptr<SqliteTables> tables(new SqliteTables(*std::move(opened), options));
  if (absl::Status status = tables->file_table_.DeleteUnfinished(); !status.ok()) return status;
  return tables;
}

SqliteTables::SqliteTables(std::unique_ptr<storage::Database> database, const BatchOptions* options)
    : Tables(file_table_, batch_table_),
      database_(std::move(database)),
      file_table_(database_.get(), options),
      batch_table_(database_.get(), options) {}

absl::StatusOr<int64_t> SqliteTables::UsedBytes() {
  const absl::StatusOr<int64_t> size = database_->SizeBytes();
  const absl::StatusOr<int64_t> free = database_->FreeBytes();
  if (!size.ok() || !free.ok()) return size.ok() ? free.status() : size.status();
  return *size - *free;
}

}  // namespace hadal::batches
