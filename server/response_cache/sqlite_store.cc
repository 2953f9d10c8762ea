// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/sqlite_store.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/storage/database.h"

namespace hadal::response_cache {
namespace {

constexpr int32_t kApplicationId = 0x48524331;  // "HRC1"
// New and replaced entries get the highest id: the lowest are the oldest.
constexpr std::array<std::string_view, 1> kMigrations = {
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, entry BLOB NOT NULL)"};
// Of the bound: the rest is for pages that are not full, and for the index.
constexpr double kFillShare = 0.9;
// Dropped at a time, so that not each new entry costs a walk.
constexpr int kDropped = 32;

class SqliteConnection : public StoreConnection {
 public:
  SqliteConnection(storage::DatabaseOptions options) : options_(std::move(options)) {}

  absl::StatusOr<std::string> Get(const CacheKey& key) override {
    if (absl::Status status = Open(); !status.ok()) return status;
    absl::StatusOr<std::string> entry = absl::NotFoundError("no such entry");
    absl::Status status;
    {
      storage::Statement rows = database_->Prepare("SELECT entry FROM answers WHERE key = ?");
      rows.BindBlob(key);
      if (rows.Next()) entry = rows.String(0);
      status = rows.status();
    }
    if (status.ok()) return entry;
    database_.reset();
    return status;
  }

  // The file has no clock: an entry carries the time at which it was stored.
  absl::Status Put(const CacheKey& key, std::string_view entry, absl::Duration ttl) override {
    if (absl::Status status = Open(); !status.ok()) return status;
    absl::Status status = database_->Transact([&] { return PutIn(key, entry); });
    if (absl::IsResourceExhausted(status)) {
      // The disk has less room than the bound says: what is here makes room, as far as it can.
      status = database_->Transact([&] { return DropOldest(8 * kDropped); });
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

  absl::Status DropOldest(int count) {
    return database_->Prepare("DELETE FROM answers WHERE id IN (SELECT id FROM answers ORDER BY id LIMIT ?)")
        .Bind(count)
        .Run();
  }

  absl::Status PutIn(const CacheKey& key, std::string_view entry) {
    const auto room = static_cast<int64_t>(kFillShare * static_cast<double>(options_.max_bytes));
    while (true) {
      const absl::StatusOr<int64_t> size = database_->SizeBytes(), free = database_->FreeBytes();
      if (!size.ok() || !free.ok()) return size.ok() ? free.status() : size.status();
      if (*size - *free + static_cast<int64_t>(entry.size()) <= room) break;
      if (absl::Status status = DropOldest(kDropped); !status.ok()) return status;
      if (database_->changes() == 0) return absl::ResourceExhaustedError("the entry is larger than the whole store");
    }
    return database_->Prepare("INSERT OR REPLACE INTO answers (key, entry) VALUES (?, ?)")
        .BindBlob(key)
        .BindBlob(entry)
        .Run();
  }

  const storage::DatabaseOptions options_;
  std::unique_ptr<storage::Database> database_;
};

class SqliteStore : public Store {
 public:
  explicit SqliteStore(storage::DatabaseOptions options) : options_(std::move(options)) {}
  std::string_view name() const override { return "sqlite"; }
  std::unique_ptr<StoreConnection> Connect(absl::Duration timeout) const override {
    storage::DatabaseOptions options = options_;
    options.busy_timeout = timeout;
    return std::make_unique<SqliteConnection>(std::move(options));
  }

 private:
  const storage::DatabaseOptions options_;
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
