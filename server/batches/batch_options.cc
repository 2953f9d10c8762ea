// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_options.h"

#include <string_view>

#include "absl/strings/str_cat.h"

namespace hadal::batches {
namespace {

constexpr std::string_view kSqlite = "sqlite:";
// Redis' own limit of one value (proto-max-bulk-len).
constexpr int64_t kMaxRedisFileBytes = int64_t{512} << 20;
// Less than a replica may need for one exchange with a slow Redis.
constexpr absl::Duration kMinReclaim = absl::Seconds(5);

}  // namespace

std::string BatchOptions::Folder() const { return store.starts_with(kSqlite) ? store.substr(kSqlite.size()) : store; }

absl::Status BatchOptions::Validate() const {
  if (!shared()) {
    if (!Folder().empty() || !enabled()) return absl::OkStatus();
    return absl::InvalidArgumentError("--batch-store is 'sqlite:'; expected a folder behind the colon");
  }
  if (max_file_bytes > kMaxRedisFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-max-file is ", max_file_bytes,
                                                   "; in Redis a file has at most ", kMaxRedisFileBytes, " bytes"));
  }
  if (reclaim_after < kMinReclaim) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-reclaim-after is ", absl::FormatDuration(reclaim_after),
                                                   "; it must be at least ", absl::FormatDuration(kMinReclaim)));
  }
  return absl::OkStatus();
}

}  // namespace hadal::batches
