// SPDX-License-Identifier: Apache-2.0
#include "server/batches/sqlite_file_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/batches/schema.h"
#include "server/batches/store_error.h"
#include "server/request/refusal.h"

namespace hadal::batches {
namespace {

using request::MakeError;
using request::Reason;
using storage::Statement;

constexpr std::string_view kColumns = "number, id, owner, name, purpose, bytes, created, expires, batch, holds_errors";

StoredFile FileOf(const Statement& row) {
  StoredFile file;
  file.number = row.Int(0);
  file.id = row.String(1);
  file.owner = row.String(2);
  file.name = row.String(3);
  file.purpose = row.String(4);
  file.bytes = row.Int(5);
  file.created = row.Int(6);
  file.expires = row.Int(7);
  file.batch = row.Int(8);
  file.holds_errors = row.Int(9) != 0;
  return file;
}

}  // namespace

absl::StatusOr<int64_t> SqliteFileTable::UsedBytes(std::string_view owner) {
  Statement sum = database_.Prepare("SELECT ifnull(sum(bytes), 0) FROM files WHERE owner = ?");
  const bool row = sum.Bind(owner).Next();
  if (!row) return sum.status();
  return sum.Int(0);
}

absl::StatusOr<Upload> SqliteFileTable::Begin(std::string_view owner, int64_t now) {
  Statement count = database_.Prepare("SELECT count(*) FROM files WHERE owner = ? AND batch IS NULL");
  const bool row = count.Bind(owner).Next();
  if (!row) return count.status();
  const int64_t files = count.Int(0);
  const absl::StatusOr<int64_t> used = UsedBytes(owner);
  if (!used.ok()) return used.status();
  if (absl::Status status = CheckMayUpload(options_, files, *used); !status.ok()) return status;
  Statement insert = database_.Prepare("INSERT INTO files(id, owner, created, expires) VALUES (?, ?, ?, 0)");
  if (absl::Status status = insert.Bind(NewId("file-"), owner, now).Run(); !status.ok()) return status;
  return Upload{database_.last_insert_id(), std::min(options_.max_file_bytes, options_.max_key_bytes - *used)};
}

absl::Status SqliteFileTable::Append(const Upload& upload, int64_t offset, std::string_view bytes) {
  if (absl::Status fits = CheckFits(options_, upload, offset, bytes.size()); !fits.ok()) return fits;
  Statement insert = database_.Prepare("INSERT INTO chunks(file, offset, data) VALUES (?, ?, ?)");
  return insert.Bind(upload.number, offset).BindBlob(bytes).Run();
}

absl::StatusOr<StoredFile> SqliteFileTable::Finish(const Upload& upload, std::string_view name, int64_t bytes,
                                                   int64_t seconds) {
  StoredFile file;
  const absl::Status status = database_.Transact([&]() -> absl::Status {
    const int64_t kept_s = seconds > 0 ? seconds : absl::ToInt64Seconds(options_.retention);
    Statement update = database_.Prepare(
        "UPDATE files SET name = ?, purpose = 'batch', bytes = ?, expires = created + ?, ready = 1 WHERE number = ?");
    absl::Status written = update.Bind(name, bytes, kept_s, upload.number).Run();
    if (!written.ok()) return written;
    Statement rows = database_.Prepare(absl::StrCat("SELECT ", base::View(kColumns), " FROM files WHERE number = ?"));
    if (!rows.Bind(upload.number).Next()) return rows.status().ok() ? NoFile("of the upload") : rows.status();
    file = FileOf(rows);
    const absl::StatusOr<int64_t> used = UsedBytes(file.owner);
    if (!used.ok()) return used.status();
    return CheckKeyBytes(options_, *used);
  });
  if (status.ok()) return file;
  (void)Abandon(upload);
  return status;
}

absl::Status SqliteFileTable::Abandon(const Upload& upload) {
  return database_.Prepare("DELETE FROM files WHERE number = ? AND ready = 0").Bind(upload.number).Run();
}

absl::StatusOr<StoredFile> SqliteFileTable::Find(std::string_view owner, std::string_view id) {
  Statement rows = database_.Prepare(
      absl::StrCat("SELECT ", base::View(kColumns), " FROM files WHERE id = ? AND owner = ? AND ready = 1"));
  const bool found = rows.Bind(id, owner).Next();
  if (!rows.status().ok()) return rows.status();
  if (!found) return NoFile(id);
  return FileOf(rows);
}

absl::StatusOr<ListPage<StoredFile>> SqliteFileTable::List(std::string_view owner, const ListQuery& query) {
  int64_t after = 0;
  if (!query.after.empty()) {
    const absl::StatusOr<StoredFile> last = Find(owner, query.after);
    if (!last.ok()) return last.status();
    after = last->number;
  }
  const absl::string_view order =
      query.newest_first ? "AND (?2 = 0 OR number < ?2) ORDER BY number DESC" : "AND number > ?2 ORDER BY number";
  Statement rows = database_.Prepare(
      absl::StrCat("SELECT ", base::View(kColumns),
                   " FROM files WHERE owner = ?1 AND ready = 1 AND (?3 = '' OR purpose = ?3) ", order, " LIMIT ?4"));
  rows.Bind(owner, after, query.purpose, query.limit + 1);
  ListPage<StoredFile> page;
  while (rows.Next()) page.items.push_back(FileOf(rows));
  if (!rows.status().ok()) return rows.status();
  page.has_more = static_cast<int64_t>(page.items.size()) > query.limit;
  if (page.has_more) page.items.pop_back();
  return page;
}

absl::Status SqliteFileTable::Delete(std::string_view owner, std::string_view id) {
  return database_.Transact([&]() -> absl::Status {
    const absl::StatusOr<StoredFile> file = Find(owner, id);
    if (!file.ok()) return file.status();
    Statement rows =
        database_.Prepare(absl::StrCat("SELECT id FROM batches WHERE owner = ? AND input_number = ? AND ", kNotEnded));
    const bool used = rows.Bind(owner, file->number).Next();
    if (!rows.status().ok()) return rows.status();
    if (used) return FileIsRead(rows.Text(0));
    return DeleteRow(*file);
  });
}

absl::Status SqliteFileTable::DeleteRow(const StoredFile& file) {
  if (file.batch != 0) {  // its content are the results
    Statement results = database_.Prepare("UPDATE lines SET result = NULL WHERE batch = ? AND state = ?");
    if (absl::Status status = results.Bind(file.batch, file.holds_errors ? 2 : 1).Run(); !status.ok()) return status;
  }
  return database_.Prepare("DELETE FROM files WHERE number = ?").Bind(file.number).Run();
}

absl::StatusOr<ContentPiece> SqliteFileTable::Read(const StoredFile& file, int64_t from) {
  Statement rows = file.batch == 0 ? database_.Prepare(
                                         "SELECT offset + length(data), data FROM chunks WHERE file = ? AND "
                                         "offset >= ? ORDER BY offset")
                                   : database_.Prepare(
                                         "SELECT number, result FROM lines WHERE batch = ? AND number > ? AND "
                                         "state = ? ORDER BY number");
  rows.Bind(file.batch == 0 ? file.number : file.batch, from);
  if (file.batch != 0) rows.Bind(file.holds_errors ? 2 : 1);
  ContentPiece piece;
  while (piece.bytes.size() < kPieceBytes) {
    if (!rows.Next()) {
      piece.end = true;
      break;
    }
    piece.next = rows.Int(0);
    piece.bytes.append(rows.Text(1));
  }
  if (!rows.status().ok()) return rows.status();
  return piece;
}

absl::StatusOr<std::string> SqliteFileTable::ReadRange(int64_t number, int64_t offset, int64_t length) {
  // The chunk in which the range begins is the last one that begins before it.
  Statement rows = database_.Prepare(
      "SELECT offset, data FROM chunks WHERE file = ?1 AND offset >= (SELECT max(offset) FROM chunks WHERE file = ?1 "
      "AND offset <= ?2) AND offset < ?3 ORDER BY offset");
  rows.Bind(number, offset, offset + length);
  std::string bytes;
  while (static_cast<int64_t>(bytes.size()) < length && rows.Next()) {
    const int64_t skip = std::max<int64_t>(offset - rows.Int(0), 0);
    std::string_view data = rows.Text(1);
    data.remove_prefix(std::min<size_t>(static_cast<size_t>(skip), data.size()));
    bytes.append(data.substr(0, static_cast<size_t>(length) - bytes.size()));
  }
  if (!rows.status().ok()) return rows.status();
  return bytes;
}

absl::Status SqliteFileTable::DeleteUnfinished() {
  return database_.Prepare("DELETE FROM files WHERE ready = 0").Run();
}

absl::Status SqliteFileTable::DeleteExpired(int64_t now) {
  return database_.Transact([&]() -> absl::Status {
    std::vector<StoredFile> expired;
    {
      Statement rows = database_.Prepare(
          absl::StrCat("SELECT ", base::View(kColumns),
                       " FROM files WHERE ready = 1 AND expires <= ? AND number NOT IN (SELECT input_number FROM "
                       "batches WHERE ",
                       kNotEnded, ")"));
      rows.Bind(now);
      while (rows.Next()) expired.push_back(FileOf(rows));
      if (!rows.status().ok()) return rows.status();
    }
    for (const StoredFile& file : expired) {
      if (absl::Status status = DeleteRow(file); !status.ok()) return status;
    }
    return absl::OkStatus();
  });
}

}  // namespace hadal::batches
