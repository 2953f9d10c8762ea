// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/storage/log_keeper.h"
#include "server/storage/statement.h"

struct sqlite3;
struct sqlite3_stmt;

namespace hadal::storage {

// What a power failure may lose. A killed process never loses committed data, whatever the setting.
enum class Durability {
  kFull,    // nothing: each commit waits for the disk
  kNormal,  // the last commits; the file stays consistent
};

struct DatabaseOptions {
  std::string path;                              // its folder exists
  int32_t application_id = 0;                    // of the kind of store, so that none opens another's file; not 0
  std::span<const std::string_view> migrations;  // SQL; the i-th takes the schema from version i to i + 1
  Durability durability = Durability::kFull;
  // No other process may open the file while this one has it. A LogKeeper then keeps its log small, and a write that
  // found no room is tried once more after the log was emptied.
  bool exclusive = false;
  int64_t max_bytes = 0;                           // of the database, without its log; 0: what the disk holds
  int64_t cache_bytes = int64_t{4} << 20;          // of pages in memory
  absl::Duration busy_timeout = absl::Seconds(5);  // how long to wait for another process's lock
};

// A connection to an SQLite database in WAL mode. What was committed survives the process being killed at any moment,
// and an open that follows finds exactly that. One thread at a time; StoreThread gives it one of its own. Owns its
// statements: none may outlive it. Errors are those of StatusOf.
class Database {
 public:
  // Opens or creates the file and brings its schema up to date, in one transaction. FAILED_PRECONDITION also for a file
  // of another kind, or one whose schema is newer than `migrations`.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const DatabaseOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // A statement ready to be bound. Compiled once for each text, so the text should be a constant. A text that cannot be
  // compiled is reported when the statement runs.
  Statement Prepare(std::string_view sql);
  // Several statements without parameters.
  absl::Status Execute(const std::string& sql);
  // Runs `body` in one transaction: all of it is committed, or, when it or the commit fails, nothing. Not nested. Where
  // the file is exclusive, `body` runs a second time when a statement found no room.
  absl::Status Transact(absl::FunctionRef<absl::Status()> body);

  // Rows that the last statement inserted, changed or deleted.
  int64_t changes() const;
  int64_t last_insert_id() const;
  // Bytes of the database's pages, in use or free.
  absl::StatusOr<int64_t> SizeBytes();
  // Bytes of pages that can be written again.
  absl::StatusOr<int64_t> FreeBytes();
  // DATA_LOSS with what is wrong. Reads the whole file.
  absl::Status CheckIntegrity();
  const std::string& path() const { return path_; }

 private:
  friend class Statement;

  explicit Database(std::string path) : path_(std::move(path)) {}
  absl::Status Configure(const DatabaseOptions& options);
  absl::Status Migrate(const DatabaseOptions& options);
  absl::Status TransactOnce(absl::FunctionRef<absl::Status()> body);
  absl::Status StatusFrom(int code);
  absl::StatusOr<int64_t> ReadInt(std::string_view sql);
  // Keeps a compiled statement for its next use.
  void TakeBack(const std::string& sql, sqlite3_stmt* statement);

  const std::string path_;
  sqlite3* db_ = nullptr;
  std::unordered_map<std::string, sqlite3_stmt*> idle_;  // compiled, in nobody's hands
  std::unique_ptr<LogKeeper> log_;                       // of an exclusive file
  bool no_room_ = false;                                 // a statement of the transaction found none
};

}  // namespace hadal::storage
