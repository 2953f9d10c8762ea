// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/batches/batch_options.h"
#include "server/batches/batch_types.h"
#include "server/batches/file_table.h"

namespace hadal::batches {

// Converts an error of the store for clients: STORAGE_FULL, STORAGE_UNAVAILABLE or INTERNAL, without paths and
// addresses, which go to the log. OK and errors that are already meant for clients (request::MakeError) are returned
// unchanged.
absl::Status ClientError(const absl::Status& status);
// For the step that makes something: when the store did not answer, it may have done so. STORAGE_UNAVAILABLE without
// leave to ask again, which could make two; other errors stay. `what` is one of `list`.
absl::Status MayHaveBeenMade(const absl::Status& status, absl::string_view what, absl::string_view list);

// --- errors that all stores report in the same words ---
absl::Status NoFile(std::string_view id);
absl::Status NoBatch(std::string_view id);
// INVALID_REQUEST: `batch`, an id, has not ended.
absl::Status FileIsRead(std::string_view batch);
absl::Status NothingToCancel(const StoredBatch& batch);
absl::Status TooManyBatches(const BatchOptions& options, int64_t unended);
// TENANT_QUOTA for a tenant that has so many uploaded files, and so many bytes in all.
absl::Status CheckMayUpload(const BatchOptions& options, int64_t files, int64_t bytes);
absl::Status CheckKeyBytes(const BatchOptions& options, int64_t bytes);
// BODY_TOO_LARGE when a piece ends behind what the upload may have.
absl::Status CheckFits(const BatchOptions& options, const Upload& upload, int64_t offset, size_t bytes);
// INVALID_REQUEST for results.
absl::Status CheckIsInput(const StoredFile& file);
BatchError RepeatedCustomId(const WaitingLine& line, int64_t first);

// The result of a line that did not run before its batch ended.
struct EndReason {
  std::string_view code, message;
};
EndReason ReasonOf(BatchStatus end);

}  // namespace hadal::batches
