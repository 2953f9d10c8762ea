// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/batches/batch_options.h"
#include "server/batches/batch_table.h"
#include "server/storage/database.h"

namespace hadal::batches {

// Batches in SQLite, which one process has: lines are with it or with nobody. Borrows database and options.
class SqliteBatchTable final : public BatchTable {
 public:
  SqliteBatchTable(storage::Database* database, const BatchOptions* options)
      : database_(*database), options_(*options) {}

  absl::StatusOr<StoredBatch> Create(const NewBatch& wanted, int64_t now) override;
  absl::StatusOr<StoredBatch> Find(std::string_view owner, std::string_view id) override;
  absl::StatusOr<ListPage<StoredBatch>> List(std::string_view owner, const ListQuery& query) override;
  absl::StatusOr<StoredBatch> Cancel(std::string_view owner, std::string_view id, int64_t now) override;
  absl::StatusOr<std::vector<StoredBatch>> Unended() override;
  absl::StatusOr<bool> BeginReading(int64_t batch) override;
  absl::Status AddLines(int64_t batch, const std::vector<WaitingLine>& lines,
                        std::optional<BatchError>* repeated) override;
  absl::StatusOr<bool> Begin(int64_t batch, int64_t now) override;
  absl::Status Fail(int64_t batch, const std::vector<BatchError>& errors, int64_t now) override;
  absl::StatusOr<std::vector<WaitingLine>> Take(int64_t batch, int64_t after, int64_t limit,
                                                const std::vector<int64_t>& held) override;
  absl::StatusOr<std::vector<int64_t>> Keep(int64_t, const std::vector<int64_t>&) override {
    return std::vector<int64_t>();
  }
  absl::Status GiveBack(int64_t, const std::vector<int64_t>&) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<size_t>> EndLines(const std::vector<EndedLine>& lines) override;
  absl::StatusOr<bool> End(const StoredBatch& batch, BatchStatus end, int64_t now) override;
  absl::Status DeleteOld(int64_t now) override;

 private:
  absl::StatusOr<StoredBatch> Row(std::string_view condition, int64_t number);
  absl::Status ReadErrors(StoredBatch* batch);
  absl::Status SetStatus(int64_t batch, BatchStatus status, int64_t now);
  absl::Status DropLines(int64_t batch);
  // Makes the file of those results; empty when there are none.
  absl::StatusOr<std::string> MakeResultFile(const StoredBatch& batch, bool errors, int64_t now);

  storage::Database& database_;
  const BatchOptions& options_;
};

}  // namespace hadal::batches
