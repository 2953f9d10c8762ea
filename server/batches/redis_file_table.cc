// SPDX-License-Identifier: Apache-2.0
#include "server/batches/redis_file_table.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/batches/redis_file_scripts.h"
#include "server/batches/store_error.h"
#include "server/request/refusal.h"

namespace hadal::batches {
namespace {

using redis::Reply;
using redis::Words;

// An upload that has brought nothing for so long is gone; a route gives up earlier.
constexpr int64_t kUploadSeconds = 2 * 3600;
// Numbers whose rows are read at a time.
constexpr int64_t kRowsAtATime = 256;
// Lines of results that are read at a time: from few, which may be long, to many.
constexpr int64_t kFirstResults = 8, kMostResults = 512;

StoredFile FileOf(int64_t number, const RedisFields& row) {
  StoredFile file;
  file.number = number;
  file.id = row.Text("id");
  file.owner = row.Text("owner");
  file.name = row.Text("name");
  file.purpose = row.Text("purpose");
  file.bytes = row.Int("bytes");
  file.created = row.Int("created");
  file.expires = row.Int("expires");
  file.batch = row.Int("batch");
  file.holds_errors = row.Int("holds_errors") != 0;
  return file;
}

absl::Status UploadIsGone() {
  return request::MakeError(request::Reason::kInvalidRequest, "the upload took too long, and its beginning is gone");
}

}  // namespace

absl::StatusOr<int64_t> RedisNumberOf(RedisLink& link, std::string_view id) {
  if (id.size() > 64) return 0;  // none of ours
  const absl::StatusOr<Reply> reply = link.Run({"GET", RedisKey("id", base::View(id))});
  if (!reply.ok()) return reply.status();
  int64_t number = 0;
  return absl::SimpleAtoi(reply->text, &number) ? number : 0;
}

absl::StatusOr<Upload> RedisFileTable::Begin(std::string_view owner, int64_t now) {
  const absl::StatusOr<Reply> reply =
      link_.Eval(kBeginUpload, {NewId("file-"), std::string(owner), absl::StrCat(now), absl::StrCat(kUploadSeconds),
                                absl::StrCat(options_.max_key_files), absl::StrCat(options_.max_key_bytes)});
  if (!reply.ok()) return reply.status();
  const int64_t files = reply->items[1].integer, bytes = reply->items[2].integer;
  if (absl::Status status = CheckMayUpload(options_, files, bytes); !status.ok()) return status;
  return Upload{reply->items[0].integer, std::min(options_.max_file_bytes, options_.max_key_bytes - bytes)};
}

absl::Status RedisFileTable::Append(const Upload& upload, int64_t offset, std::string_view bytes) {
  if (absl::Status fits = CheckFits(options_, upload, offset, bytes.size()); !fits.ok()) return fits;
  const absl::StatusOr<Reply> reply = link_.Eval(
      kAppend, {absl::StrCat(upload.number), absl::StrCat(offset), std::string(bytes), absl::StrCat(kUploadSeconds)});
  if (!reply.ok()) return reply.status();
  return reply->integer == 1 ? absl::OkStatus() : UploadIsGone();
}

absl::StatusOr<StoredFile> RedisFileTable::Finish(const Upload& upload, std::string_view name, int64_t bytes,
                                                  int64_t seconds) {
  const int64_t kept_s = seconds > 0 ? seconds : absl::ToInt64Seconds(options_.retention);
  const absl::StatusOr<Reply> reply =
      link_.Eval(kFinishUpload, {absl::StrCat(upload.number), std::string(name), absl::StrCat(bytes),
                                 absl::StrCat(kept_s), absl::StrCat(options_.max_key_bytes)});
  if (!reply.ok()) return reply.status();
  if (reply->items[0].integer < 0) return CheckKeyBytes(options_, reply->items[1].integer);
  absl::StatusOr<std::optional<StoredFile>> file = Row(upload.number);
  if (!file.ok()) return file.status();
  if (!file->has_value()) return UploadIsGone();
  return **std::move(file);
}

absl::Status RedisFileTable::Abandon(const Upload& upload) {
  return link_.Eval(kAbandon, {absl::StrCat(upload.number)}).status();
}

absl::StatusOr<std::optional<StoredFile>> RedisFileTable::Row(int64_t number) {
  const absl::StatusOr<Reply> reply = link_.Run({"HGETALL", RedisKey("file", number)});
  if (!reply.ok()) return reply.status();
  const RedisFields row(*reply);
  if (row.Int("ready") == 0) return std::nullopt;
  return FileOf(number, row);
}

absl::StatusOr<StoredFile> RedisFileTable::Find(std::string_view owner, std::string_view id) {
  const absl::StatusOr<int64_t> number = RedisNumberOf(link_, id);
  if (!number.ok()) return number.status();
  if (*number == 0) return NoFile(id);
  absl::StatusOr<std::optional<StoredFile>> file = Row(*number);
  if (!file.ok()) return file.status();
  if (!file->has_value() || (*file)->owner != owner) return NoFile(id);
  return **std::move(file);
}

absl::StatusOr<ListPage<StoredFile>> RedisFileTable::List(std::string_view owner, const ListQuery& query) {
  std::string from = query.newest_first ? "+inf" : "-inf";
  if (!query.after.empty()) {
    const absl::StatusOr<StoredFile> last = Find(owner, query.after);
    if (!last.ok()) return last.status();
    from = absl::StrCat("(", last->number);
  }
  ListPage<StoredFile> page;
  const std::string names = RedisKey("files", base::View(owner));
  while (true) {
    Words words = {"ZRANGE", names, from, query.newest_first ? "-inf" : "+inf", "BYSCORE"};
    if (query.newest_first) words.push_back("REV");
    words.insert(words.end(), {"LIMIT", "0", absl::StrCat(kRowsAtATime)});
    const absl::StatusOr<Reply> numbers = link_.Run(words);
    if (!numbers.ok()) return numbers.status();
    if (numbers->items.empty()) return page;
    std::vector<Words> commands;
    for (const Reply& number : numbers->items) commands.push_back({"HGETALL", RedisKey("file", number.text)});
    const absl::StatusOr<std::vector<Reply>> rows = link_.RunAll(commands);
    if (!rows.ok()) return rows.status();
    for (size_t i = 0; i < rows->size(); ++i) {
      const RedisFields row((*rows)[i]);
      if (row.empty() || (!query.purpose.empty() && row.Text("purpose") != query.purpose)) continue;
      page.has_more = static_cast<int64_t>(page.items.size()) == query.limit;
      if (page.has_more) return page;
      int64_t number = 0;
      if (absl::SimpleAtoi(numbers->items[i].text, &number)) page.items.push_back(FileOf(number, row));
    }
    from = absl::StrCat("(", numbers->items.back().text);
  }
}

absl::Status RedisFileTable::Delete(std::string_view owner, std::string_view id) {
  const absl::StatusOr<StoredFile> file = Find(owner, id);
  if (!file.ok()) return file.status();
  const absl::StatusOr<Reply> reader = link_.Eval(kDeleteFile, {absl::StrCat(file->number), "0"});
  if (!reader.ok()) return reader.status();
  return reader->text.empty() ? absl::OkStatus() : FileIsRead(reader->text);
}

absl::StatusOr<ContentPiece> RedisFileTable::Read(const StoredFile& file, int64_t from) {
  ContentPiece piece;
  if (file.batch == 0) {
    absl::StatusOr<std::string> bytes = ReadRange(file.number, from, kPieceBytes);
    if (!bytes.ok()) return bytes.status();
    piece.bytes = *std::move(bytes);
    piece.next = from + static_cast<int64_t>(piece.bytes.size());
    piece.end = piece.bytes.size() < kPieceBytes;
    return piece;
  }
  const std::string results = RedisKey(file.holds_errors ? "failed" : "completed", file.batch);
  piece.next = from;
  for (int64_t count = kFirstResults; piece.bytes.size() < kPieceBytes; count = std::min(2 * count, kMostResults)) {
    const absl::StatusOr<Reply> lines =
        link_.Run({"LRANGE", results, absl::StrCat(piece.next), absl::StrCat(piece.next + count - 1)});
    if (!lines.ok()) return lines.status();
    for (const Reply& line : lines->items) piece.bytes.append(line.text);
    piece.next += static_cast<int64_t>(lines->items.size());
    piece.end = static_cast<int64_t>(lines->items.size()) < count;
    if (piece.end) break;
    const size_t mean = piece.bytes.size() / static_cast<size_t>(piece.next - from);
    if (mean * static_cast<size_t>(2 * count) > kPieceBytes) break;
  }
  return piece;
}

absl::StatusOr<std::string> RedisFileTable::ReadRange(int64_t number, int64_t offset, int64_t length) {
  absl::StatusOr<Reply> bytes =
      link_.Run({"GETRANGE", RedisKey("data", number), absl::StrCat(offset), absl::StrCat(offset + length - 1)});
  if (!bytes.ok()) return bytes.status();
  return std::move(bytes->text);
}

absl::Status RedisFileTable::DeleteExpired(int64_t now) {
  const std::string expiring = RedisKey("expiring");
  // Files that a batch reads stay, and are passed over.
  for (int64_t stayed = 0;;) {
    const absl::StatusOr<Reply> numbers = link_.Run({"ZRANGE", expiring, "-inf", absl::StrCat(now), "BYSCORE", "LIMIT",
                                                     absl::StrCat(stayed), absl::StrCat(kRowsAtATime)});
    if (!numbers.ok()) return numbers.status();
    for (const Reply& number : numbers->items) {
      const absl::StatusOr<Reply> reader = link_.Eval(kDeleteFile, {number.text, absl::StrCat(now)});
      if (!reader.ok()) return reader.status();
      if (!reader->text.empty()) ++stayed;
    }
    if (static_cast<int64_t>(numbers->items.size()) < kRowsAtATime) return absl::OkStatus();
  }
}

}  // namespace hadal::batches
