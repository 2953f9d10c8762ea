// SPDX-License-Identifier: Apache-2.0
#include "server/batches/content_reader.h"

#include <algorithm>
#include <utility>

namespace hadal::batches {

ContentReader::ContentReader(StoredFile file, int64_t begin, int64_t end)
    : file_(std::move(file)), at_(begin), left_(std::max<int64_t>(end - begin, 0)), skip_(begin) {}

absl::StatusOr<ContentReader::Piece> ContentReader::Next(Tables& tables) {
  Piece piece;
  if (file_.batch == 0) {
    left_ = std::min(left_, file_.bytes - at_);
    if (left_ <= 0) return Piece{.bytes = "", .end = true};
    const int64_t length = std::min<int64_t>(left_, FileTable::kPieceBytes);
    absl::StatusOr<std::string> bytes = tables.files.ReadRange(file_.number, at_, length);
    if (!bytes.ok()) return bytes.status();
    piece.bytes = *std::move(bytes);
    piece.end = static_cast<int64_t>(piece.bytes.size()) < length;
  } else {
    absl::StatusOr<ContentPiece> lines = tables.files.Read(file_, from_);
    if (!lines.ok()) return lines.status();
    from_ = lines->next;
    piece = {.bytes = std::move(lines->bytes), .end = lines->end};
    const int64_t skipped = std::min<int64_t>(skip_, static_cast<int64_t>(piece.bytes.size()));
    piece.bytes.erase(0, static_cast<size_t>(skipped));
    skip_ -= skipped;
    if (left_ < static_cast<int64_t>(piece.bytes.size())) piece.bytes.resize(static_cast<size_t>(left_));
  }
  at_ += static_cast<int64_t>(piece.bytes.size());
  left_ -= static_cast<int64_t>(piece.bytes.size());
  piece.end = piece.end || left_ <= 0;
  return piece;
}

}  // namespace hadal::batches
