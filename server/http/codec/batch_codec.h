// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_types.h"
#include "server/http/codec/json_writer.h"

namespace hadal::http {

// What POST /v1/batches asks for. INVALID_REQUEST, OUT_OF_RANGE or UNSUPPORTED name the field.
absl::StatusOr<batches::BatchRequest> DecodeBatchBody(std::string_view body, int max_depth);

// limit, after, order and purpose of a list's query. OUT_OF_RANGE names the parameter.
absl::StatusOr<batches::ListQuery> ReadListQuery(std::string_view target, int64_t default_limit, int64_t max_limit);

// The API's objects.
void AppendFile(const batches::StoredFile& file, JsonWriter* json);
void AppendBatch(const batches::StoredBatch& batch, JsonWriter* json);

}  // namespace hadal::http
