// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/batch_options.h"
#include "server/batches/batch_types.h"
#include "server/storage/database.h"

namespace hadal::batches {

// What a client asks for.
struct NewBatch {
  std::string owner;
  std::string endpoint;
  std::string metadata_json;
  StoredFile input;
  int64_t result_seconds = 0;  // how long results are kept; 0: the server's own time
};

// A line that has ended.
struct EndedLine {
  int64_t batch = 0;
  int64_t number = 0;
  bool completed = false;  // else it failed
  std::string result;      // its line of the output or error file
};

// The batches of the store and their life. Used on the store's thread only; borrows database and options. Errors about
// what a client asked are request::Reasons, others are the database's. Every change of status is one transaction.
class BatchTable {
 public:
  BatchTable(storage::Database* database, const BatchOptions* options) : database_(*database), options_(*options) {}

  // --- for clients ---
  // TENANT_QUOTA: too many have not ended. INVALID_REQUEST: the file is no input.
  absl::StatusOr<StoredBatch> Create(const NewBatch& wanted, int64_t now);
  // OBJECT_NOT_FOUND for one that is not there or somebody else's.
  absl::StatusOr<StoredBatch> Find(std::string_view owner, std::string_view id);
  absl::StatusOr<ListPage<StoredBatch>> List(std::string_view owner, const ListQuery& query);
  // From now on kCancelling. INVALID_REQUEST when it has ended; one that is cancelling stays so.
  absl::StatusOr<StoredBatch> Cancel(std::string_view owner, std::string_view id, int64_t now);

  // --- for the runner ---
  // Those that have not ended, the oldest first.
  absl::StatusOr<std::vector<StoredBatch>> Unended();
  // Lines of a valid input go in piece by piece, each all or nothing. Nothing goes in, and `repeated` names the line,
  // when a custom_id was used before.
  absl::Status AddLines(int64_t batch, const std::vector<WaitingLine>& lines, std::optional<BatchError>* repeated);
  // Forgets the lines of a validation that did not come to its end.
  absl::Status DropLines(int64_t batch);
  // kValidating -> kInProgress; false when it has been cancelled meanwhile.
  absl::StatusOr<bool> Begin(int64_t batch, int64_t now);
  // kValidating -> kFailed.
  absl::Status Fail(int64_t batch, const std::vector<BatchError>& errors, int64_t now);
  // The next lines that wait, behind line number `after`.
  absl::StatusOr<std::vector<WaitingLine>> Waiting(int64_t batch, int64_t after, int64_t limit);
  // Lines have ended: their results and the batches' counts in one write. One that has ended before stays as it was.
  absl::Status EndLines(const std::vector<EndedLine>& lines);
  // All lines have ended, or no more will run: those that wait fail with the reason of `end`, the results become files,
  // and the status is `end` (kCompleted, kExpired, kCancelled).
  absl::Status End(const StoredBatch& batch, BatchStatus end, int64_t now);
  // Ended batches older than the retention, with their results.
  absl::Status DeleteOld(int64_t now);

 private:
  absl::StatusOr<StoredBatch> Row(std::string_view condition, int64_t number);
  absl::Status ReadErrors(StoredBatch* batch);
  absl::Status SetStatus(int64_t batch, BatchStatus status, int64_t now);
  // Makes the file of those results; empty when there are none.
  absl::StatusOr<std::string> MakeResultFile(const StoredBatch& batch, bool errors, int64_t now);

  storage::Database& database_;
  const BatchOptions& options_;
};

}  // namespace hadal::batches
