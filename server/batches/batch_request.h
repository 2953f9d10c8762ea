// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/batches/batch_types.h"
#include "server/batches/tables.h"

namespace hadal::batches {

// What clients may ask of files and batches, over whichever protocol. Errors are request::Reasons.

// Page sizes of lists. A list of files has as many as it may, where the client does not say.
inline constexpr int64_t kMaxFilesInList = 10'000;
inline constexpr int64_t kMaxBatchesInList = 100;
inline constexpr int64_t kBatchesInList = 20;
// Of a message that is no file.
inline constexpr size_t kMaxRequestBytes = 64 << 10;
inline constexpr size_t kMaxFileNameBytes = 255;
// Of a whole upload; that bytes keep coming is seen to besides.
inline constexpr absl::Duration kUploadTimeout = absl::Hours(1);
// Of a batch's metadata: entries, and bytes of each name and value.
inline constexpr size_t kMaxMetadata = 16;
inline constexpr size_t kMaxMetadataKey = 64;
inline constexpr size_t kMaxMetadataValue = 512;

// UNSUPPORTED: this server keeps no files; names the flag.
absl::Status BatchesAreOff();
// OUT_OF_RANGE: a file is kept for an hour to 30 days. `path` is what the client calls the field.
absl::Status CheckExpiry(int64_t seconds, std::string_view path);
// INVALID_REQUEST: uploads are inputs of batches.
absl::Status CheckPurpose(std::string_view purpose);
// UNSUPPORTED: the lines of a batch go to one of a few routes.
absl::Status CheckEndpoint(std::string_view endpoint);
// OUT_OF_RANGE names the field.
absl::Status CheckPageSize(int64_t size, int64_t max, std::string_view path);
// INVALID_REQUEST.
absl::Status CheckMetadataCount(size_t entries);
absl::Status CheckMetadataEntry(std::string_view key, std::string_view value);
// The first bytes of a file's name that it keeps.
std::string_view KeptName(std::string_view name);

// A batch that is asked for; its fields have been checked.
struct BatchRequest {
  std::string input_file_id;
  std::string endpoint;
  std::string metadata_json = "null";  // an object of texts, or null
  int64_t result_seconds = 0;          // how long results are kept; 0: the server's own time
};
// On the store's thread. Beside BatchTable::Create's and FileTable::Find's errors: MayHaveBeenMade.
absl::StatusOr<StoredBatch> CreateBatch(Tables& tables, std::string_view owner, const BatchRequest& wanted,
                                        int64_t now);

}  // namespace hadal::batches
