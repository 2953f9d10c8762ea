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

// The batches of the store and their life cycle. Used on the store's thread only. Errors about a client's request are
// request::Reasons, others are those of the store, as in FileTable. Every change of status is atomic.
//
// Several processes may share a store. Each waiting line then has at most one holder, from Take until it ends, is given
// back, or is taken over because its holder was silent for too long; the first result counts.
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
  // The caller starts to read the input from the beginning: lines of an unfinished reading are dropped. False: another
  // process reads it, or it is no longer kValidating.
  virtual absl::StatusOr<bool> BeginReading(int64_t batch) = 0;
  // Adds lines of a valid input piece by piece, each piece atomically. If a custom_id was used before, nothing is added
  // and `repeated` names the line. ABORTED: another process has taken over the reading.
  virtual absl::Status AddLines(int64_t batch, const std::vector<WaitingLine>& lines,
                                std::optional<BatchError>* repeated) = 0;
  // kValidating -> kInProgress; false when it has been cancelled, or the reading taken over, meanwhile.
  virtual absl::StatusOr<bool> Begin(int64_t batch, int64_t now) = 0;
  // kValidating -> kFailed. ABORTED as above.
  virtual absl::Status Fail(int64_t batch, const std::vector<BatchError>& errors, int64_t now) = 0;
  // Takes up to `limit` waiting lines without a holder (for a store of one process, those after line number `after`);
  // the caller is now their holder. `held`: the lines that it holds already. It is given any others of its own again,
  // as the reply that named them may have been lost.
  virtual absl::StatusOr<std::vector<WaitingLine>> Take(int64_t batch, int64_t after, int64_t limit,
                                                        const std::vector<int64_t>& held) = 0;
  // The caller is still working on these lines. Returns those that it no longer holds: ended or taken over.
  virtual absl::StatusOr<std::vector<int64_t>> Keep(int64_t batch, const std::vector<int64_t>& lines) = 0;
  // Gives the lines back: they wait again.
  virtual absl::Status GiveBack(int64_t batch, const std::vector<int64_t>& lines) = 0;
  // Ends lines: stores each result and its batch's count in one write. Lines that had already ended stay unchanged;
  // returns their indices.
  virtual absl::StatusOr<std::vector<size_t>> EndLines(const std::vector<EndedLine>& lines) = 0;
  // Ends a batch of which all lines have ended, or no more will run: waiting lines fail with the reason of `end`, the
  // results become files, and the status becomes `end` (kCompleted, kExpired, kCancelled). A batch that was never
  // started has no lines. False, without changes, if for kCompleted other holders' lines have not ended. Does nothing
  // for an ended batch.
  virtual absl::StatusOr<bool> End(const StoredBatch& batch, BatchStatus end, int64_t now) = 0;
  // Ended batches older than the retention, with their results.
  virtual absl::Status DeleteOld(int64_t now) = 0;
};

}  // namespace hadal::batches
