// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/batches/batch_options.h"
#include "server/batches/sqlite_batch_table.h"
#include "server/batches/sqlite_file_table.h"
#include "server/batches/tables.h"
#include "server/storage/database.h"

namespace hadal::batches {

// Files and batches in DIR/batches.db, for a single process.
class SqliteTables final : public Tables {
 public:
  // Opens or creates the database (and its folder, if the parent exists), and removes leftovers of a killed process.
  // Errors: the folder cannot be created, another process has the store open, the file is damaged or newer than this
  // program. Borrows the options.
  static absl::StatusOr<std::unique_ptr<SqliteTables>> Open(const BatchOptions* options);

  int circuit() const override { return 0; }
  absl::StatusOr<int64_t> UsedBytes() override;
  storage::Database& database() { return *database_; }

 private:
  SqliteTables(std::unique_ptr<storage::Database> database, const BatchOptions* options);

  const std::unique_ptr<storage::Database> database_;
  SqliteFileTable file_table_;
  SqliteBatchTable batch_table_;
};

}  // namespace hadal::batches
