// SPDX-License-Identifier: Apache-2.0
#include "server/storage/log_keeper.h"

#include <sqlite3.h>
#include <sys/statvfs.h>

#include <utility>

namespace hadal::storage {
namespace {

constexpr int64_t kPageBytes = 4096;  // SQLite's default

}  // namespace

LogKeeper::LogKeeper(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {
  // Instead of SQLite's own, which copies the log at a thousand pages.
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<LogKeeper*>(self)->OnCommit(pages);
        return SQLITE_OK;  // it is committed, whatever becomes of the log
      },
      this);
}

LogKeeper::~LogKeeper() { sqlite3_wal_hook(db_, nullptr, nullptr); }

void LogKeeper::BeforeWrite() {
  if (stuck_) Copy(SQLITE_CHECKPOINT_TRUNCATE);
}

bool LogKeeper::MakeRoom() { return Copy(SQLITE_CHECKPOINT_TRUNCATE); }

void LogKeeper::OnCommit(int log_pages) {
  const int64_t bytes = log_pages * kPageBytes;
  if (IsDiskTight(bytes)) {
    Copy(SQLITE_CHECKPOINT_TRUNCATE);
  } else if (bytes >= kBytes) {
    Copy(SQLITE_CHECKPOINT_PASSIVE);  // the file keeps its size, so that its blocks are not allocated over and over
  }
}

bool LogKeeper::Copy(int mode) {
  int pages = 0;
  int copied = 0;
  const int code = sqlite3_wal_checkpoint_v2(db_, nullptr, mode, &pages, &copied);
  stuck_ = code != SQLITE_OK || copied < pages;
  return !stuck_;
}

bool LogKeeper::IsDiskTight(int64_t log_bytes) const {
  struct statvfs disk;
  if (::statvfs(path_.c_str(), &disk) != 0 || disk.f_blocks == 0) return false;  // no blocks: a disk without a limit
  return disk.f_bavail < static_cast<uint64_t>(log_bytes + kBytes) / disk.f_frsize;
}

}  // namespace hadal::storage
