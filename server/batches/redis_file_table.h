// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "server/batches/batch_options.h"
#include "server/batches/file_table.h"
#include "server/batches/redis_link.h"

namespace hadal::batches {

// Files in Redis. Borrows link and options.
class RedisFileTable final : public FileTable {
 public:
  RedisFileTable(RedisLink* link, const BatchOptions* options) : link_(*link), options_(*options) {}

  absl::StatusOr<Upload> Begin(std::string_view owner, int64_t now) override;
  absl::Status Append(const Upload& upload, int64_t offset, std::string_view bytes) override;
  absl::StatusOr<StoredFile> Finish(const Upload& upload, std::string_view name, int64_t bytes,
                                    int64_t seconds) override;
  absl::Status Abandon(const Upload& upload) override;
  absl::StatusOr<StoredFile> Find(std::string_view owner, std::string_view id) override;
  absl::StatusOr<ListPage<StoredFile>> List(std::string_view owner, const ListQuery& query) override;
  absl::Status Delete(std::string_view owner, std::string_view id) override;
  absl::StatusOr<ContentPiece> Read(const StoredFile& file, int64_t from) override;
  absl::StatusOr<std::string> ReadRange(int64_t number, int64_t offset, int64_t length) override;
  absl::Status DeleteExpired(int64_t now) override;

 private:
  // Nullopt: there is none that is whole.
  absl::StatusOr<std::optional<StoredFile>> Row(int64_t number);

  RedisLink& link_;
  const BatchOptions& options_;
};

// What is under "id:" of a file or a batch; 0: nothing.
absl::StatusOr<int64_t> RedisNumberOf(RedisLink& link, std::string_view id);

}  // namespace hadal::batches
