// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/tables.h"

namespace hadal::batches {

// An upload on its way into the store. A front appends the bytes that arrive to `pending`, and has the steps that take
// Tables run on the store's thread, one at a time, in this order: Begin; WritePiece for as long as HasPiece; Finish.
// Abandon instead of what is left when the upload comes to nothing. Nothing happens to `pending` meanwhile. Not
// thread-safe.
class FileWriter {
 public:
  // What the tenant may have is looked at.
  absl::Status Begin(Tables& tables, std::string_view owner, int64_t now);
  // Whether a piece of the size that the store wants is there; at the `end`, whether anything is.
  bool HasPiece(bool end) const;
  absl::Status WritePiece(Tables& tables);
  // `seconds`: how long the file is kept; 0: the server's own time. FileTable::Finish's errors, and MayHaveBeenMade.
  absl::StatusOr<StoredFile> Finish(Tables& tables, std::string_view name, int64_t seconds);
  absl::Status Abandon(Tables& tables);

  bool begun() const { return upload_.has_value(); }
  int64_t written() const { return written_; }

  std::string pending;  // bytes that are not in the store

 private:
  std::optional<Upload> upload_;
  int64_t written_ = 0;
};

}  // namespace hadal::batches
