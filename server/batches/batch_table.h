// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/batch_types.h"

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

// The batches of the store and their life. Used on the store's thread only. Errors about what a client asked are
// request::Reasons, others are the store's, as FileTable's. Every change of status is made whole or not at all.
//
// Several processes may have the same store. Then each line that waits is with one of them at a time, from Take until
// it ends, is given back, or is taken over because its holder was silent for too long; whichever result comes first
// counts.
class BatchTable {
 public:
  virtual ~BatchTable() = default;

  // --- for clients ---
  // TENANT_QUOTA: too many have not ended. INVALID_REQUEST: the file is no input.
  virtual absl::StatusOr<StoredBatch> Create(const NewBatch& wanted, int64_t now) = 0;
  // OBJECT_NOT_FOUND for one that is not there or somebody else's.
  virtual absl::StatusOr<StoredBatch> Find(std::string_view owner, std::string_view id) = 0;
  virtual absl::StatusOr<ListPage<StoredBatch>> List(std::string_view owner, const ListQuery& query) = 0;
  // From now on kCancelling. INVALID_REQUEST when it has ended; one that is cancelling stays so.
  virtual absl::StatusOr<StoredBatch> Cancel(std::string_view owner, std::string_view id, int64_t now) = 0;

  // --- for the runner ---
  // Those that have not ended, the oldest first.
  virtual absl::StatusOr<std::vector<StoredBatch>> Unended() = 0;
  // The caller reads the input from its beginning: lines of a reading that did not come to its end are forgotten.
  // False: another process reads it, or it is not kValidating any more.
  virtual absl::StatusOr<bool> BeginReading(int64_t batch) = 0;
  // Lines of a valid input go in piece by piece, each all or nothing. Nothing goes in, and `repeated` names the line,
  // when a custom_id was used before. ABORTED: the reading is not the caller's any more.
  virtual absl::Status AddLines(int64_t batch, const std::vector<WaitingLine>& lines,
                                std::optional<BatchError>* repeated) = 0;
  // kValidating -> kInProgress; false when it has been cancelled, or the reading taken over, meanwhile.
  virtual absl::StatusOr<bool> Begin(int64_t batch, int64_t now) = 0;
  // kValidating -> kFailed. ABORTED as above.
  virtual absl::Status Fail(int64_t batch, const std::vector<BatchError>& errors, int64_t now) = 0;
  // Up to `limit` lines that wait and are with nobody, behind line number `after` where a store has one process; they
  // are with the caller now.
  virtual absl::StatusOr<std::vector<WaitingLine>> Take(int64_t batch, int64_t after, int64_t limit) = 0;
  // The caller is alive and works on these lines. Gives those that are not with it any more: ended or taken over.
  virtual absl::StatusOr<std::vector<int64_t>> Keep(int64_t batch, const std::vector<int64_t>& lines) = 0;
  // The lines wait again, for anybody.
  virtual absl::Status GiveBack(int64_t batch, const std::vector<int64_t>& lines) = 0;
  // Lines have ended: the result of each and its batch's count in one write. One that has ended before stays as it was.
  // Gives the indices of those.
  virtual absl::StatusOr<std::vector<size_t>> EndLines(const std::vector<EndedLine>& lines) = 0;
  // All lines have ended, or no more will run: those that wait fail with the reason of `end`, the results become files,
  // and the status is `end` (kCompleted, kExpired, kCancelled). A batch that was not begun has no lines. False, and
  // nothing is done: for kCompleted, lines have not ended that are with others. One that has ended stays as it is.
  virtual absl::StatusOr<bool> End(const StoredBatch& batch, BatchStatus end, int64_t now) = 0;
  // Ended batches older than the retention, with their results.
  virtual absl::Status DeleteOld(int64_t now) = 0;
};

}  // namespace hadal::batches
