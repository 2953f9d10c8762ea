// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/sqlite_store.h"

#include <array>
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "base/sync.h"
#include "server/base/log.h"
#include "server/storage/database.h"

namespace hadal::response_cache {
namespace {

constexpr int32_t kApplicationId = 0x48524331;  // "HRC1"
// Uses are counted apart from the entries, since a new value in a row writes all of the row again. The lowest count is
// that of the entry that was used least recently.
constexpr std::array<std::string_view, 2> kMigrations = {
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, entry BLOB NOT NULL)", R"sql(
CREATE TABLE uses (id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE INDEX uses_by_count ON uses (count);
INSERT INTO uses SELECT id, id FROM answers;
)sql"};
// Of the bound: the rest is for pages that are not full, and for the index.
constexpr double kFillShare = 0.9;
// Dropped at a time, so that not each new entry costs a walk.
constexpr int kDropped = 32;

// Entries that were found since the last write. Looking one up writes nothing: only a write makes room, so the uses go
// into the file with the next one. Thread-safe.
class FoundEntries {
 public:
  // Beyond that many a use is forgotten, and the entry looks older than it is.
  static constexpr size_t kMost = 1024;

  void Add(int64_t id) {
    base::MutexLock lock(&mutex_);
    if (ids_.size() < kMost) ids_.insert(id);
  }
  std::unordered_set<int64_t> Take() {
    base::MutexLock lock(&mutex_);
    return std::exchange(ids_, {});
  }

 private:
  base::Mutex mutex_;
  std::unordered_set<int64_t> ids_ ABSL_GUARDED_BY(mutex_);
};

class SqliteConnection : public StoreConnection {
 public:
  SqliteConnection(storage::DatabaseOptions options, std::shared_ptr<FoundEntries> found)
      : options_(std::move(options)), found_(std::move(found)) {}

  absl::StatusOr<std::string> Get(const CacheKey& key) override {
    if (absl::Status status = Open(); !status.ok()) return status;
    absl::StatusOr<std::string> entry = absl::NotFoundError("no such entry");
    absl::Status status;
    {
      storage::Statement rows = database_->Prepare("SELECT entry, id FROM answers WHERE key = ?");
      rows.BindBlob(key);
      if (rows.Next()) {
        entry = rows.String(0);
        found_->Add(rows.Int(1));
      }
      status = rows.status();
    }
    if (status.ok()) return entry;
    database_.reset();
    return status;
  }

  // The file has no clock: an entry carries the time at which it was stored.
  absl::Status Put(const CacheKey& key, std::string_view entry, absl::Duration ttl) override {
    if (absl::Status status = Open(); !status.ok()) return status;
    absl::Status status = database_->Transact([&] {
      absl::Status counted = CountUses();
      return counted.ok() ? PutIn(key, entry) : counted;
    });
    if (absl::IsResourceExhausted(status)) {
      // The disk has less room than the bound says: what is here makes room, as far as it can.
      status = database_->Transact([&] { return DropLeastRecent(8 * kDropped); });
      if (status.ok()) status = database_->Transact([&] { return PutIn(key, entry); });
    }
    if (!status.ok() && !absl::IsResourceExhausted(status)) database_.reset();
    return status;
  }

 private:
  absl::Status Open() {
    if (database_ != nullptr) return absl::OkStatus();
    auto opened = storage::Database::Open(options_);
    if (!opened.ok()) return opened.status();
    database_ = *std::move(opened);
    return absl::OkStatus();
  }

  absl::Status CountUses() {
    for (const int64_t id : found_->Take()) {
      storage::Statement update =
          database_->Prepare("UPDATE uses SET count = (SELECT max(count) + 1 FROM uses) WHERE id = ?");
      if (absl::Status status = update.Bind(id).Run(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // `changes` of the database tells how many went.
  absl::Status DropLeastRecent(int count) {
    absl::Status status =
        database_->Prepare("DELETE FROM answers WHERE id IN (SELECT id FROM uses ORDER BY count LIMIT ?)")
            .Bind(count)
            .Run();
    if (!status.ok()) return status;
    return database_->Prepare("DELETE FROM uses WHERE id IN (SELECT id FROM uses ORDER BY count LIMIT ?)")
        .Bind(count)
        .Run();
  }

  absl::Status PutIn(const CacheKey& key, std::string_view entry) {
    const auto room = static_cast<int64_t>(kFillShare * static_cast<double>(options_.max_bytes));
    while (true) {
      const absl::StatusOr<int64_t> size = database_->SizeBytes(), free = database_->FreeBytes();
      if (!size.ok() || !free.ok()) return size.ok() ? free.status() : size.status();
      if (*size - *free + static_cast<int64_t>(entry.size()) <= room) break;
      if (absl::Status status = DropLeastRecent(kDropped); !status.ok()) return status;
      if (database_->changes() == 0) return absl::ResourceExhaustedError("the entry is larger than the whole store");
    }
    int64_t id = 0;
    {
      storage::Statement insert = database_->Prepare(
          "INSERT INTO answers (key, entry) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET entry = excluded.entry "
          "RETURNING id");
      if (!insert.BindBlob(key).BindBlob(entry).Next()) return insert.status();
      id = insert.Int(0);
    }
    return database_
        ->Prepare("INSERT OR REPLACE INTO uses (id, count) VALUES (?, (SELECT ifnull(max(count), 0) + 1 FROM uses))")
        .Bind(id)
        .Run();
  }

  const storage::DatabaseOptions options_;
  const std::shared_ptr<FoundEntries> found_;  // of all connections
  std::unique_ptr<storage::Database> database_;
};

class SqliteStore : public Store {
 public:
  explicit SqliteStore(storage::DatabaseOptions options) : options_(std::move(options)) {}
  std::string_view name() const override { return "sqlite"; }
  std::unique_ptr<StoreConnection> Connect(absl::Duration timeout) const override {
    storage::DatabaseOptions options = options_;
    options.busy_timeout = timeout;
    return std::make_unique<SqliteConnection>(std::move(options), found_);
  }

 private:
  const storage::DatabaseOptions options_;
  const std::shared_ptr<FoundEntries> found_ = std::make_shared<FoundEntries>();
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> MakeSqliteStore(std::string path, int64_t max_bytes) {
  storage::DatabaseOptions options;
  options.path = std::move(path);
  options.application_id = kApplicationId;
  options.migrations = kMigrations;
  options.durability = storage::Durability::kNormal;
  options.max_bytes = max_bytes;
  const absl::Status opened = storage::Database::Open(options).status();
  if (absl::IsFailedPrecondition(opened)) return opened;
  if (!opened.ok()) {
    base::Log(base::LogLevel::kWarn, "response-cache",
              absl::StrCat("the file cannot be used now: ", opened.message(), "; it is tried again"));
  }
  return std::make_unique<SqliteStore>(std::move(options));
}

}  // namespace hadal::response_cache
