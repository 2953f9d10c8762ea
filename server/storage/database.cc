// SPDX-License-Identifier: Apache-2.0
#include "server/storage/database.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/check.h"
#include "server/base/strings.h"
#include "server/storage/sqlite_status.h"

namespace hadal::storage {
namespace {

// After a checkpoint the log is cut to this, so that one large transaction does not keep its size for ever.
constexpr int64_t kMaxIdleLogBytes = int64_t{4} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  HADAL_CHECK(options.application_id != 0) << options.path;
  std::unique_ptr<Database> database(new Database(options.path));
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(options.path.c_str(), &database->db_, flags, nullptr);
  if (code != SQLITE_OK) return StatusOf(code, database->db_, options.path);
  if (absl::Status status = database->Configure(options); !status.ok()) return status;
  if (absl::Status status = database->Migrate(options); !status.ok()) return status;
  return database;
}

Database::~Database() {
  for (const auto& [sql, statement] : idle_) sqlite3_finalize(statement);
  log_.reset();
  sqlite3_close(db_);
}

absl::Status Database::Configure(const DatabaseOptions& options) {
  sqlite3_busy_timeout(db_, static_cast<int>(absl::ToInt64Milliseconds(options.busy_timeout)));
  std::string pragmas;
  // Before WAL: the log's index then lives in memory, and the first read takes the lock for good.
  if (options.exclusive) absl::StrAppend(&pragmas, "PRAGMA locking_mode = EXCLUSIVE;");
  absl::StrAppend(&pragmas, "PRAGMA journal_mode = WAL;",
                  "PRAGMA journal_size_limit = ", options.exclusive ? LogKeeper::kBytes : kMaxIdleLogBytes, ";",
                  "PRAGMA synchronous = ", options.durability == Durability::kFull ? "FULL" : "NORMAL", ";",
                  "PRAGMA cache_size = -", std::max<int64_t>(options.cache_bytes >> 10, 64), ";",
                  "PRAGMA foreign_keys = ON;");
  if (absl::Status status = Execute(pragmas); !status.ok()) return status;
  if (options.exclusive) log_ = std::make_unique<LogKeeper>(db_, path_);
  if (options.max_bytes == 0) return absl::OkStatus();
  const absl::StatusOr<int64_t> page_bytes = ReadInt("PRAGMA page_size");
  if (!page_bytes.ok()) return page_bytes.status();
  return Execute(absl::StrCat("PRAGMA max_page_count = ", std::max<int64_t>(options.max_bytes / *page_bytes, 1)));
}

absl::Status Database::Migrate(const DatabaseOptions& options) {
  const auto known = static_cast<int64_t>(options.migrations.size());
  return Transact([&]() -> absl::Status {
    const absl::StatusOr<int64_t> id = ReadInt("PRAGMA application_id");
    if (!id.ok()) return id.status();
    const absl::StatusOr<int64_t> version = ReadInt("PRAGMA user_version");
    if (!version.ok()) return version.status();
    const absl::StatusOr<int64_t> objects = ReadInt("SELECT count(*) FROM sqlite_schema");
    if (!objects.ok()) return objects.status();
    const bool fresh = *id == 0 && *version == 0 && *objects == 0;
    if (!fresh && *id != options.application_id) {
      return absl::FailedPreconditionError(absl::StrCat(path_, ": this database belongs to something else"));
    }
    if (*version > known) {
      return absl::FailedPreconditionError(absl::StrCat(path_, ": its schema has version ", *version,
                                                        ", and this program knows them up to ", known,
                                                        ": a newer one has written it"));
    }
    if (*version == known) return absl::OkStatus();
    for (int64_t i = *version; i < known; ++i) {
      if (absl::Status status = Execute(std::string(options.migrations[i])); !status.ok()) return status;
    }
    return Execute(absl::StrCat("PRAGMA application_id = ", options.application_id, "; PRAGMA user_version = ", known));
  });
}

Statement Database::Prepare(std::string_view sql) {
  std::string text(sql);
  if (auto found = idle_.find(text); found != idle_.end()) {
    sqlite3_stmt* const statement = found->second;
    idle_.erase(found);
    return Statement(this, std::move(text), statement, absl::OkStatus());
  }
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  return Statement(this, std::move(text), statement, StatusFrom(code));
}

void Database::TakeBack(const std::string& sql, sqlite3_stmt* statement) {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (!idle_.emplace(sql, statement).second) sqlite3_finalize(statement);
}

absl::Status Database::Execute(const std::string& sql) {
  return StatusFrom(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr));
}

absl::Status Database::StatusFrom(int code) {
  absl::Status status = StatusOf(code, db_, path_);
  no_room_ = no_room_ || absl::IsResourceExhausted(status);
  return status;
}

absl::Status Database::Transact(absl::FunctionRef<absl::Status()> body) {
  no_room_ = false;
  absl::Status status = TransactOnce(body);
  // Not for an error of the body's own, like a quota that is used up.
  if (!status.ok() && no_room_ && log_ != nullptr && log_->MakeRoom()) status = TransactOnce(body);
  return status;
}

absl::Status Database::TransactOnce(absl::FunctionRef<absl::Status()> body) {
  HADAL_CHECK(sqlite3_get_autocommit(db_) != 0) << path_ << ": a transaction in another";
  // Takes the write lock now: a lock that is upgraded later could find that others have written meanwhile.
  absl::Status status = Prepare("BEGIN IMMEDIATE").Run();
  if (!status.ok()) return status;
  status = body();
  if (status.ok()) status = Prepare("COMMIT").Run();
  // Some errors, like a full disk, have rolled it back already.
  if (!status.ok() && sqlite3_get_autocommit(db_) == 0) (void)Prepare("ROLLBACK").Run();
  return status;
}

int64_t Database::changes() const { return sqlite3_changes64(db_); }

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(db_); }

absl::StatusOr<int64_t> Database::ReadInt(std::string_view sql) {
  Statement statement = Prepare(sql);
  const bool row = statement.Next();
  if (!statement.status().ok()) return statement.status();
  return row ? statement.Int(0) : 0;
}

absl::StatusOr<int64_t> Database::SizeBytes() {
  return ReadInt("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
}

absl::StatusOr<int64_t> Database::FreeBytes() {
  return ReadInt("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size");
}

absl::Status Database::CheckIntegrity() {
  Statement statement = Prepare("PRAGMA integrity_check(1)");
  if (!statement.Next()) return statement.status();
  if (statement.Text(0) == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path_, ": the file is damaged: ", base::View(statement.Text(0))));
}

}  // namespace hadal::storage
