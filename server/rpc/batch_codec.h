// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "hadal/v1/batches.pb.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_types.h"

namespace hadal::rpc {

// Messages of hadal.v1.Batches and what the store knows. Decoders: INVALID_REQUEST, OUT_OF_RANGE or UNSUPPORTED name
// the field.
absl::StatusOr<batches::BatchRequest> DecodeBatch(const v1::CreateBatchRequest& request);
absl::StatusOr<batches::ListQuery> DecodeList(const v1::ListFilesRequest& request);
absl::StatusOr<batches::ListQuery> DecodeList(const v1::ListBatchesRequest& request);
// OK, or what is wrong with a file that is to be uploaded.
absl::Status CheckNewFile(const v1::NewFile& file);

void EncodeFile(const batches::StoredFile& file, v1::File* out);
void EncodeBatch(const batches::StoredBatch& batch, v1::Batch* out);

}  // namespace hadal::rpc
