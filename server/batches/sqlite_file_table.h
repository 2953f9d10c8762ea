// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "server/batches/batch_options.h"
#include "server/batches/file_table.h"
#include "server/storage/database.h"

namespace hadal::batches {

// Files in SQLite. Borrows database and options.
class SqliteFileTable final : public FileTable {
 public:
  SqliteFileTable(storage::Database* database, const BatchOptions* options)
      : database_(*database), options_(*options) {}

  absl::StatusOr<Upload> Begin(std::string_view owner, int64_t now) override;
  absl::Status Append(const Upload& upload, int64_t offset, std::string_view bytes) override;
  absl::StatusOr<StoredFile> Finish(const Upload& upload, std::string_view name, int64_t bytes,
                                    int64_t seconds) override;
  absl::Status Abandon(const Upload& upload) override;
  absl::StatusOr<StoredFile> Find(std::string_view owner, std::string_view id) override;
  absl::StatusOr<ListPage<StoredFile>> List(std::string_view owner, const ListQuery& query) override;
  absl::Status Delete(std::string_view owner, std::string_view id) override;
  absl::StatusOr<ContentPiece> Read(const StoredFile& file, int64_t from) override;
  absl::StatusOr<std::string> ReadRange(int64_t number, int64_t offset, int64_t length) override;
  absl::Status DeleteExpired(int64_t now) override;

  // Uploads that a killed process has left.
  absl::Status DeleteUnfinished();

 private:
  absl::StatusOr<int64_t> UsedBytes(std::string_view owner);
  absl::Status DeleteRow(const StoredFile& file);

  storage::Database& database_;
  const BatchOptions& options_;
};

}  // namespace hadal::batches
