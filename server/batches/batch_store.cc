// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_store.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/batches/redis_tables.h"
#include "server/batches/sqlite_tables.h"

namespace hadal::batches {
namespace {

// Jobs that may wait for the thread: each is short, and a client's holds at most a piece of a file.
constexpr size_t kMaxJobs = 256;

absl::StatusOr<std::unique_ptr<Tables>> OpenTables(const BatchOptions* options) {
  if (options->shared()) return RedisTables::Open(options);
  return SqliteTables::Open(options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BatchStore>> BatchStore::Open(const BatchOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  std::unique_ptr<BatchStore> store(new BatchStore(options));
  absl::StatusOr<std::unique_ptr<Tables>> tables = OpenTables(&store->options_);
  if (!tables.ok()) {
    const absl::string_view why = tables.status().message();
    return absl::Status(tables.status().code(),
                        absl::StartsWith(why, "--") ? std::string(why) : absl::StrCat("--batch-store: ", why));
  }
  store->thread_ = std::make_unique<storage::StoreThread<Tables>>(*std::move(tables), kMaxJobs);
  return store;
}

absl::Status BatchStore::Run(absl::FunctionRef<absl::Status(Tables&)> job) {
  absl::Status status;
  const bool ran = thread_->Run([&](Tables& tables) { status = job(tables); });
  return ran ? status : absl::UnavailableError("the store of files and batches is closed");
}

}  // namespace hadal::batches
