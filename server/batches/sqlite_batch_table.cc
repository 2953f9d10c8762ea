// SPDX-License-Identifier: Apache-2.0
#include "server/batches/sqlite_batch_table.h"

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

constexpr absl::string_view kBatchColumns =
    "number, id, owner, endpoint, input_file, input_number, metadata, status, total, completed, failed, output_file, "
    "error_file, created, expires, result_seconds, reached_0, reached_1, reached_2, reached_3, reached_4, reached_5, "
    "reached_6, reached_7";
constexpr int kFirstReached = 16;

StoredBatch BatchOf(const Statement& row) {
  StoredBatch batch;
  batch.number = row.Int(0);
  batch.id = row.String(1);
  batch.owner = row.String(2);
  batch.endpoint = row.String(3);
  batch.input_file = row.String(4);
  batch.input_number = row.Int(5);
  batch.metadata_json = row.String(6);
  batch.status = static_cast<BatchStatus>(row.Int(7));
  batch.total = row.Int(8);
  batch.completed = row.Int(9);
  batch.failed = row.Int(10);
  batch.output_file = row.String(11);
  batch.error_file = row.String(12);
  batch.created = row.Int(13);
  batch.expires = row.Int(14);
  batch.result_seconds = row.Int(15);
  for (int i = 0; i < kBatchStatuses; ++i) batch.reached[static_cast<size_t>(i)] = row.Int(kFirstReached + i);
  return batch;
}

}  // namespace

absl::StatusOr<StoredBatch> SqliteBatchTable::Create(const NewBatch& wanted, int64_t now) {
  if (absl::Status status = CheckIsInput(wanted.input); !status.ok()) return status;
  StoredBatch made;
  const absl::Status status = database_.Transact([&]() -> absl::Status {
    Statement count = database_.Prepare(absl::StrCat("SELECT count(*) FROM batches WHERE owner = ? AND ", kNotEnded));
    const bool row = count.Bind(wanted.owner).Next();
    if (!row) return count.status();
    if (count.Int(0) >= options_.max_key_batches) return TooManyBatches(options_, count.Int(0));
    const int64_t results_s =
        wanted.result_seconds > 0 ? wanted.result_seconds : absl::ToInt64Seconds(options_.retention);
    Statement insert = database_.Prepare(
        "INSERT INTO batches(id, owner, endpoint, input_number, input_file, metadata, status, created, expires, "
        "result_seconds, reached_0) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)");
    insert.Bind(NewId("batch_"), wanted.owner, wanted.endpoint, wanted.input.number, wanted.input.id,
                wanted.metadata_json, now, now + absl::ToInt64Seconds(options_.completion_window), results_s, now);
    if (absl::Status inserted = insert.Run(); !inserted.ok()) return inserted;
    absl::StatusOr<StoredBatch> batch = Row("", database_.last_insert_id());
    if (batch.ok()) made = *std::move(batch);
    return batch.status();
  });
  if (!status.ok()) return status;
  return made;
}

absl::StatusOr<StoredBatch> SqliteBatchTable::Row(std::string_view condition, int64_t number) {
  Statement rows = database_.Prepare(
      absl::StrCat("SELECT ", kBatchColumns, " FROM batches WHERE number = ?", base::View(condition)));
  const bool found = rows.Bind(number).Next();
  if (!rows.status().ok()) return rows.status();
  if (!found) return NoBatch(absl::StrCat(number));
  return BatchOf(rows);
}

absl::Status SqliteBatchTable::ReadErrors(StoredBatch* batch) {
  Statement rows = database_.Prepare("SELECT code, message, line FROM errors WHERE batch = ? ORDER BY rowid");
  rows.Bind(batch->number);
  while (rows.Next()) batch->errors.push_back({rows.String(0), rows.String(1), rows.Int(2)});
  return rows.status();
}

absl::StatusOr<StoredBatch> SqliteBatchTable::Find(std::string_view owner, std::string_view id) {
  Statement rows =
      database_.Prepare(absl::StrCat("SELECT ", kBatchColumns, " FROM batches WHERE id = ? AND owner = ?"));
  const bool found = rows.Bind(id, owner).Next();
  if (!rows.status().ok()) return rows.status();
  if (!found) return NoBatch(id);
  StoredBatch batch = BatchOf(rows);
  if (absl::Status status = ReadErrors(&batch); !status.ok()) return status;
  return batch;
}

absl::StatusOr<ListPage<StoredBatch>> SqliteBatchTable::List(std::string_view owner, const ListQuery& query) {
  int64_t after = 0;
  if (!query.after.empty()) {
    const absl::StatusOr<StoredBatch> last = Find(owner, query.after);
    if (!last.ok()) return last.status();
    after = last->number;
  }
  Statement rows = database_.Prepare(
      absl::StrCat("SELECT ", kBatchColumns,
                   " FROM batches WHERE owner = ?1 AND (?2 = 0 OR number < ?2) ORDER BY number DESC LIMIT ?3"));
  rows.Bind(owner, after, query.limit + 1);
  ListPage<StoredBatch> page;
  while (rows.Next()) page.items.push_back(BatchOf(rows));
  if (!rows.status().ok()) return rows.status();
  page.has_more = static_cast<int64_t>(page.items.size()) > query.limit;
  if (page.has_more) page.items.pop_back();
  for (StoredBatch& batch : page.items) {
    if (absl::Status status = ReadErrors(&batch); !status.ok()) return status;
  }
  return page;
}

absl::StatusOr<StoredBatch> SqliteBatchTable::Cancel(std::string_view owner, std::string_view id, int64_t now) {
  absl::StatusOr<StoredBatch> batch = Find(owner, id);
  if (!batch.ok() || batch->status == BatchStatus::kCancelling) return batch;
  if (HasEnded(batch->status)) return NothingToCancel(*batch);
  if (absl::Status status = SetStatus(batch->number, BatchStatus::kCancelling, now); !status.ok()) return status;
  return Find(owner, id);
}

absl::StatusOr<std::vector<StoredBatch>> SqliteBatchTable::Unended() {
  Statement rows =
      database_.Prepare(absl::StrCat("SELECT ", kBatchColumns, " FROM batches WHERE ", kNotEnded, " ORDER BY number"));
  std::vector<StoredBatch> batches;
  while (rows.Next()) batches.push_back(BatchOf(rows));
  if (!rows.status().ok()) return rows.status();
  return batches;
}

absl::Status SqliteBatchTable::SetStatus(int64_t batch, BatchStatus status, int64_t now) {
  const int number = static_cast<int>(status);
  Statement update =
      database_.Prepare(absl::StrCat("UPDATE batches SET status = ?, reached_", number, " = ? WHERE number = ?"));
  return update.Bind(number, now, batch).Run();
}

absl::Status SqliteBatchTable::AddLines(int64_t batch, const std::vector<WaitingLine>& lines,
                                        std::optional<BatchError>* repeated) {
  const absl::Status status = database_.Transact([&]() -> absl::Status {
    for (const WaitingLine& line : lines) {
      Statement insert =
          database_.Prepare("INSERT INTO lines(batch, number, custom_id, offset, length) VALUES (?, ?, ?, ?, ?)");
      absl::Status added = insert.Bind(batch, line.number, line.custom_id, line.offset, line.length).Run();
      if (added.ok()) continue;
      Statement first = database_.Prepare("SELECT number FROM lines WHERE batch = ? AND custom_id = ?");
      if (added.code() == absl::StatusCode::kAlreadyExists && first.Bind(batch, line.custom_id).Next()) {
        *repeated = RepeatedCustomId(line, first.Int(0));
      }
      return added;
    }
    return absl::OkStatus();
  });
  return repeated->has_value() ? absl::OkStatus() : status;
}

absl::StatusOr<bool> SqliteBatchTable::BeginReading(int64_t batch) {
  if (absl::Status status = DropLines(batch); !status.ok()) return status;
  return true;
}

absl::Status SqliteBatchTable::DropLines(int64_t batch) {
  return database_.Prepare("DELETE FROM lines WHERE batch = ?").Bind(batch).Run();
}

absl::StatusOr<bool> SqliteBatchTable::Begin(int64_t batch, int64_t now) {
  Statement update = database_.Prepare(
      "UPDATE batches SET status = 1, reached_1 = ?1, total = (SELECT count(*) FROM lines WHERE batch = ?2) WHERE "
      "number = ?2 AND status = 0");
  if (absl::Status status = update.Bind(now, batch).Run(); !status.ok()) return status;
  return database_.changes() == 1;
}

absl::Status SqliteBatchTable::Fail(int64_t batch, const std::vector<BatchError>& errors, int64_t now) {
  return database_.Transact([&]() -> absl::Status {
    absl::Status status = DropLines(batch);
    for (const BatchError& error : errors) {
      if (!status.ok()) break;
      Statement insert = database_.Prepare("INSERT INTO errors(batch, code, message, line) VALUES (?, ?, ?, ?)");
      status = insert.Bind(batch, error.code, error.message, error.line).Run();
    }
    return status.ok() ? SetStatus(batch, BatchStatus::kFailed, now) : status;
  });
}

absl::StatusOr<std::vector<WaitingLine>> SqliteBatchTable::Take(int64_t batch, int64_t after, int64_t limit,
                                                                const std::vector<int64_t>&) {
  Statement rows = database_.Prepare(
      "SELECT number, custom_id, offset, length FROM lines WHERE batch = ? AND state = 0 AND number > ? ORDER BY "
      "number "
      "LIMIT ?");
  rows.Bind(batch, after, limit);
  std::vector<WaitingLine> lines;
  while (rows.Next()) lines.push_back({rows.Int(0), rows.String(1), rows.Int(2), rows.Int(3)});
  if (!rows.status().ok()) return rows.status();
  return lines;
}

absl::StatusOr<std::vector<size_t>> SqliteBatchTable::EndLines(const std::vector<EndedLine>& lines) {
  std::vector<size_t> late;
  const absl::Status written = database_.Transact([&]() -> absl::Status {
    late.clear();
    for (size_t i = 0; i < lines.size(); ++i) {
      const EndedLine& line = lines[i];
      Statement update =
          database_.Prepare("UPDATE lines SET result = ?, state = ? WHERE batch = ? AND number = ? AND state = 0");
      update.BindBlob(line.result).Bind(line.completed ? 1 : 2, line.batch, line.number);
      if (absl::Status status = update.Run(); !status.ok()) return status;
      if (database_.changes() == 0) {
        late.push_back(i);
        continue;
      }
      Statement count =
          database_.Prepare(line.completed ? "UPDATE batches SET completed = completed + 1 WHERE number = ?"
                                           : "UPDATE batches SET failed = failed + 1 WHERE number = ?");
      if (absl::Status status = count.Bind(line.batch).Run(); !status.ok()) return status;
    }
    return absl::OkStatus();
  });
  if (!written.ok()) return written;
  return late;
}

absl::StatusOr<std::string> SqliteBatchTable::MakeResultFile(const StoredBatch& batch, bool errors, int64_t now) {
  Statement sum = database_.Prepare("SELECT count(*), sum(length(result)) FROM lines WHERE batch = ? AND state = ?");
  if (!sum.Bind(batch.number, errors ? 2 : 1).Next()) return sum.status();
  if (sum.Int(0) == 0) return std::string();
  const std::string id = NewId("file-");
  Statement insert = database_.Prepare(
      "INSERT INTO files(id, owner, name, purpose, bytes, created, expires, ready, batch, holds_errors) VALUES "
      "(?, ?, ?, 'batch_output', ?, ?, ?, 1, ?, ?)");
  insert.Bind(id, batch.owner, absl::StrCat(batch.id, errors ? "_errors.jsonl" : "_output.jsonl"), sum.Int(1), now,
              now + batch.result_seconds, batch.number, errors ? 1 : 0);
  if (absl::Status status = insert.Run(); !status.ok()) return status;
  return id;
}

absl::StatusOr<bool> SqliteBatchTable::End(const StoredBatch& batch, BatchStatus end, int64_t now) {
  const EndReason reason = ReasonOf(end);
  const absl::Status ended = database_.Transact([&]() -> absl::Status {
    if (batch.total == 0) {  // it has not begun: its lines may be a part only
      if (absl::Status dropped = DropLines(batch.number); !dropped.ok()) return dropped;
    }
    Statement unfinished = database_.Prepare(
        "UPDATE lines SET state = 2, result = '{\"id\":\"batch_req_' || lower(hex(randomblob(12))) || "
        "'\",\"custom_id\":' || json_quote(custom_id) || ',\"response\":null,\"error\":{\"code\":\"' || ?1 || "
        "'\",\"message\":\"' || ?2 || '\"}}' || char(10) WHERE batch = ?3 AND state = 0");
    unfinished.Bind(reason.code, reason.message, batch.number);
    if (absl::Status status = unfinished.Run(); !status.ok()) return status;
    const int64_t failed = database_.changes();
    const absl::StatusOr<std::string> output = MakeResultFile(batch, /*errors=*/false, now);
    if (!output.ok()) return output.status();
    const absl::StatusOr<std::string> errors = MakeResultFile(batch, /*errors=*/true, now);
    if (!errors.ok()) return errors.status();
    Statement update = database_.Prepare(
        "UPDATE batches SET failed = failed + ?, output_file = ?, error_file = ?, reached_2 = ? WHERE number = ?");
    if (absl::Status status = update.Bind(failed, *output, *errors, now, batch.number).Run(); !status.ok()) {
      return status;
    }
    return SetStatus(batch.number, end, now);
  });
  if (!ended.ok()) return ended;
  return true;
}

absl::Status SqliteBatchTable::DeleteOld(int64_t now) {
  Statement old = database_.Prepare(
      "DELETE FROM batches WHERE status NOT IN (0, 1, 2, 6) AND max(reached_3, reached_4, reached_5, reached_7) + "
      "max(result_seconds, ?) <= ?");
  return old.Bind(absl::ToInt64Seconds(options_.retention), now).Run();
}

}  // namespace hadal::batches
