// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/batch_options.h"
#include "server/batches/batch_types.h"
#include "server/storage/database.h"

namespace hadal::batches {

// An upload that has begun.
struct Upload {
  int64_t number = 0;     // of its file
  int64_t max_bytes = 0;  // that it may have
};

// A piece of a file's content.
struct ContentPiece {
  std::string bytes;
  int64_t next = 0;  // where the next piece begins; a number that only Read understands
  bool end = false;  // nothing follows
};

// The files of the store. Used on the store's thread only; borrows database and options. Errors about what a client
// asked are request::Reasons: OBJECT_NOT_FOUND for a file that is not there or somebody else's, TENANT_QUOTA and
// BODY_TOO_LARGE for limits. Others are the database's.
class FileTable {
 public:
  // Bytes of a piece that uploads append and Read gives.
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  FileTable(storage::Database* database, const BatchOptions* options) : database_(*database), options_(*options) {}

  // --- an upload: nobody sees the file before Finish ---
  absl::StatusOr<Upload> Begin(std::string_view owner, int64_t now);
  // `offset` is what has been appended before.
  absl::Status Append(const Upload& upload, int64_t offset, std::string_view bytes);
  // `seconds`: how long it is kept; 0: the server's own time. TENANT_QUOTA when uploads that ran together have used up
  // the tenant's bytes: the file is gone then.
  absl::StatusOr<StoredFile> Finish(const Upload& upload, std::string_view name, int64_t bytes, int64_t seconds);
  absl::Status Abandon(const Upload& upload);

  absl::StatusOr<StoredFile> Find(std::string_view owner, std::string_view id);
  absl::StatusOr<ListPage<StoredFile>> List(std::string_view owner, const ListQuery& query);
  // INVALID_REQUEST while a batch that has not ended reads it.
  absl::Status Delete(std::string_view owner, std::string_view id);

  // A piece of the content of a file, from 0 or an earlier piece's `next` on. A line of results is never divided.
  absl::StatusOr<ContentPiece> Read(const StoredFile& file, int64_t from);
  // Bytes of an uploaded file; fewer at its end.
  absl::StatusOr<std::string> ReadRange(int64_t number, int64_t offset, int64_t length);

  // Uploads that a killed process has left.
  absl::Status DeleteUnfinished();
  // Files whose time is over and that no batch needs.
  absl::Status DeleteExpired(int64_t now);

 private:
  absl::StatusOr<int64_t> UsedBytes(std::string_view owner);
  absl::Status DeleteRow(const StoredFile& file);

  storage::Database& database_;
  const BatchOptions& options_;
};

}  // namespace hadal::batches
