// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/batch_types.h"

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

// The files of the store. Used on the store's thread only. Errors about a client's request are request::Reasons:
// OBJECT_NOT_FOUND for a file that does not exist or belongs to another tenant, TENANT_QUOTA and BODY_TOO_LARGE for
// limits. Others are those of the store: UNAVAILABLE if it cannot be reached, RESOURCE_EXHAUSTED if it is full.
class FileTable {
 public:
  // Bytes of a piece that uploads append and Read gives.
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  virtual ~FileTable() = default;

  // --- an upload: the file is invisible until Finish ---
  virtual absl::StatusOr<Upload> Begin(std::string_view owner, int64_t now) = 0;
  // `offset` is what has been appended before.
  virtual absl::Status Append(const Upload& upload, int64_t offset, std::string_view bytes) = 0;
  // `seconds`: how long it is kept; 0: the server's default. TENANT_QUOTA if concurrent uploads have used up the
  // tenant's bytes; the file is then discarded.
  virtual absl::StatusOr<StoredFile> Finish(const Upload& upload, std::string_view name, int64_t bytes,
                                            int64_t seconds) = 0;
  virtual absl::Status Abandon(const Upload& upload) = 0;

  virtual absl::StatusOr<StoredFile> Find(std::string_view owner, std::string_view id) = 0;
  virtual absl::StatusOr<ListPage<StoredFile>> List(std::string_view owner, const ListQuery& query) = 0;
  // INVALID_REQUEST while a batch that has not ended reads it.
  virtual absl::Status Delete(std::string_view owner, std::string_view id) = 0;

  // A piece of the content of a file, from 0 or an earlier piece's `next` on. A line of results is never divided.
  virtual absl::StatusOr<ContentPiece> Read(const StoredFile& file, int64_t from) = 0;
  // Bytes of an uploaded file; fewer at its end.
  virtual absl::StatusOr<std::string> ReadRange(int64_t number, int64_t offset, int64_t length) = 0;

  // Removes files that have expired and that no batch needs.
  virtual absl::Status DeleteExpired(int64_t now) = 0;
};

}  // namespace hadal::batches
