// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/batches/batch_types.h"
#include "server/http/codec/json_writer.h"

namespace hadal::http {

// What POST /v1/batches asks for.
struct BatchBody {
  std::string input_file_id;
  std::string endpoint;
  std::string metadata_json = "null";  // an object of texts, or null
  int64_t result_seconds = 0;          // output_expires_after; 0: not given
};

// INVALID_REQUEST, OUT_OF_RANGE or UNSUPPORTED name the field.
absl::StatusOr<BatchBody> DecodeBatchBody(std::string_view body, int max_depth);

// Seconds that a file is kept, of an upload's or a batch's `expires_after`: OUT_OF_RANGE outside of an hour to 30 days.
absl::Status CheckExpiry(int64_t seconds, std::string_view path);

// limit, after, order and purpose of a list's query. OUT_OF_RANGE names the parameter.
absl::StatusOr<batches::ListQuery> ReadListQuery(std::string_view target, int64_t default_limit, int64_t max_limit);

// The API's objects.
void AppendFile(const batches::StoredFile& file, JsonWriter* json);
void AppendBatch(const batches::StoredBatch& batch, JsonWriter* json);

}  // namespace hadal::http
