// SPDX-License-Identifier: Apache-2.0
#include "server/batches/file_writer.h"

#include "server/batches/store_error.h"

namespace hadal::batches {

absl::Status FileWriter::Begin(Tables& tables, std::string_view owner, int64_t now) {
  const absl::StatusOr<Upload> upload = tables.files.Begin(owner, now);
  if (upload.ok()) upload_ = *upload;
  return upload.status();
}

bool FileWriter::HasPiece(bool end) const {
  return pending.size() >= FileTable::kPieceBytes || (end && !pending.empty());
}

absl::Status FileWriter::WritePiece(Tables& tables) {
  const std::string_view piece = std::string_view(pending).substr(0, FileTable::kPieceBytes);
  if (absl::Status status = tables.files.Append(*upload_, written_, piece); !status.ok()) return status;
  written_ += static_cast<int64_t>(piece.size());
  pending.erase(0, piece.size());
  return absl::OkStatus();
}

absl::StatusOr<StoredFile> FileWriter::Finish(Tables& tables, std::string_view name, int64_t seconds) {
  absl::StatusOr<StoredFile> made = tables.files.Finish(*upload_, name, written_, seconds);
  if (!made.ok()) return MayHaveBeenMade(made.status(), "file", "files");
  return made;
}

absl::Status FileWriter::Abandon(Tables& tables) {
  return upload_.has_value() ? tables.files.Abandon(*upload_) : absl::OkStatus();
}

}  // namespace hadal::batches
