// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/batches/batch_options.h"
#include "server/batches/batch_table.h"
#include "server/batches/redis_link.h"

namespace hadal::batches {

// Batches in Redis, which several replicas share: the lines of each are a stream, and all replicas one group of its
// consumers. README.md has the design. Borrows link and options.
class RedisBatchTable final : public BatchTable {
 public:
  RedisBatchTable(RedisLink* link, const BatchOptions* options);

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
  absl::StatusOr<std::vector<int64_t>> Keep(int64_t batch, const std::vector<int64_t>& lines) override;
  absl::Status GiveBack(int64_t batch, const std::vector<int64_t>& lines) override;
  absl::StatusOr<std::vector<size_t>> EndLines(const std::vector<EndedLine>& lines) override;
  absl::StatusOr<bool> End(const StoredBatch& batch, BatchStatus end, int64_t now) override;
  absl::Status DeleteOld(int64_t now) override;

 private:
  absl::StatusOr<std::vector<StoredBatch>> Rows(const std::vector<redis::Reply>& numbers);
  absl::StatusOr<std::vector<int64_t>> SetIdle(int64_t batch, int64_t idle_ms, const std::vector<int64_t>& lines);
  std::string ReclaimMs() const;

  RedisLink& link_;
  const BatchOptions& options_;
  const std::string replica_;  // this process's name
  int64_t readings_ = 0;
  std::map<int64_t, std::string> reading_;  // tokens of inputs that this process reads
  std::map<int64_t, std::string> cursors_;  // where the look for silent replicas' lines goes on
};

}  // namespace hadal::batches
