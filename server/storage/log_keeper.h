// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

struct sqlite3;

namespace hadal::storage {

// Keeps the write-ahead log of a database small when the disk has little room. SQLite appends every changed page to the
// log and copies the log into the database once it has reached some size. On a small disk the log can use up the last
// byte before that. It then can neither grow nor be copied (the database would have to grow), and nothing can be
// written any more, although the database itself would fit.
//
// Therefore the log is copied at kBytes, and after each commit while the free space is less than it may need; in the
// latter case its file is emptied. Only for a connection that has the database for itself: emptying waits for readers.
//
// Not thread-safe; used by the connection's thread.
class LogKeeper {
 public:
  // The log is copied at this size. A change needs its space twice: in the log, and in the database.
  static constexpr int64_t kBytes = int64_t{1} << 20;

  // `db`, of the file `path`, is in WAL mode, locked exclusively, and outlives this. Takes its commit hook for the log.
  LogKeeper(sqlite3* db, std::string path);
  ~LogKeeper();
  LogKeeper(const LogKeeper&) = delete;
  LogKeeper& operator=(const LogKeeper&) = delete;

  // Before a write: tries again to copy a log for which there was no room. It gets freed space first, since a write
  // that then fails would use the space up, and the log could never be copied.
  void BeforeWrite();
  // After a write that found no room: empties the log. True when that succeeded, so the write can be tried once more.
  bool MakeRoom();

 private:
  void OnCommit(int log_pages);
  // Copies the log into the database; `mode` is that of sqlite3_wal_checkpoint_v2. False when a part was left.
  bool Copy(int mode);
  // Whether less is free than the log, of `log_bytes`, and the next change may need.
  bool IsDiskTight(int64_t log_bytes) const;

  sqlite3* const db_;
  const std::string path_;
  bool stuck_ = false;  // the log could not be copied
};

}  // namespace hadal::storage
