// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/batch_codec.h"

#include <string>

#include "server/batches/batch_metadata.h"
#include "server/request/refusal.h"

namespace hadal::rpc {
namespace {

using batches::BatchStatus;

// 10,000 files could be more bytes than gRPC's clients take where they are not told to.
constexpr int64_t kFilesInPage = 1000;

static_assert(static_cast<int>(v1::BATCH_STATUS_VALIDATING) == static_cast<int>(BatchStatus::kValidating) + 1 &&
              static_cast<int>(v1::BATCH_STATUS_CANCELLED) == static_cast<int>(BatchStatus::kCancelled) + 1);

}  // namespace

absl::StatusOr<batches::BatchRequest> DecodeBatch(const v1::CreateBatchRequest& request) {
  if (request.input_file_id().empty()) {
    return request::MakeError(request::Reason::kInvalidRequest, "`input_file_id` is missing", "input_file_id");
  }
  batches::BatchRequest out = {.input_file_id = request.input_file_id(), .endpoint = request.endpoint()};
  if (absl::Status status = batches::CheckEndpoint(out.endpoint); !status.ok()) return status;
  if (absl::Status status = batches::CheckMetadataCount(request.metadata_size()); !status.ok()) return status;
  batches::Metadata metadata;
  for (const auto& [key, value] : request.metadata()) {
    if (absl::Status status = batches::CheckMetadataEntry(key, value); !status.ok()) return status;
    metadata[key] = value;
  }
  out.metadata_json = batches::MetadataJson(metadata);
  if (request.has_output_expires_after_seconds()) {
    out.result_seconds = request.output_expires_after_seconds();
    if (absl::Status status = batches::CheckExpiry(out.result_seconds, "output_expires_after_seconds"); !status.ok()) {
      return status;
    }
  }
  return out;
}

absl::StatusOr<batches::ListQuery> DecodeList(const v1::ListFilesRequest& request) {
  batches::ListQuery query = {.limit = request.page_size() == 0 ? kFilesInPage : request.page_size(),
                              .after = request.after(),
                              .newest_first = !request.oldest_first(),
                              .purpose = request.purpose()};
  absl::Status status = batches::CheckPageSize(query.limit, batches::kMaxFilesInList, "page_size");
  if (!status.ok()) return status;
  return query;
}

absl::StatusOr<batches::ListQuery> DecodeList(const v1::ListBatchesRequest& request) {
  batches::ListQuery query = {.limit = request.page_size() == 0 ? batches::kBatchesInList : request.page_size(),
                              .after = request.after()};
  absl::Status status = batches::CheckPageSize(query.limit, batches::kMaxBatchesInList, "page_size");
  if (!status.ok()) return status;
  return query;
}

absl::Status CheckNewFile(const v1::NewFile& file) {
  if (absl::Status status = batches::CheckPurpose(file.purpose()); !status.ok()) return status;
  if (!file.has_expires_after_seconds()) return absl::OkStatus();
  return batches::CheckExpiry(file.expires_after_seconds(), "file.expires_after_seconds");
}

void EncodeFile(const batches::StoredFile& file, v1::File* out) {
  out->set_id(file.id);
  out->set_name(file.name);
  out->set_purpose(file.purpose);
  out->set_bytes(file.bytes);
  out->set_created_at(file.created);
  out->set_expires_at(file.expires);
}

void EncodeBatch(const batches::StoredBatch& batch, v1::Batch* out) {
  out->set_id(batch.id);
  out->set_endpoint(batch.endpoint);
  out->set_status(static_cast<v1::BatchStatus>(static_cast<int>(batch.status) + 1));
  out->set_input_file_id(batch.input_file);
  out->set_output_file_id(batch.output_file);
  out->set_error_file_id(batch.error_file);
  out->set_total(batch.total);
  out->set_completed(batch.completed);
  out->set_failed(batch.failed);
  for (const batches::BatchError& error : batch.errors) {
    v1::BatchError* const added = out->add_errors();
    added->set_code(error.code);
    added->set_message(error.message);
    added->set_line(error.line);
  }
  for (auto& [key, value] : batches::ReadMetadataJson(batch.metadata_json)) (*out->mutable_metadata())[key] = value;
  const auto reached = [&](BatchStatus status) { return batch.reached[static_cast<size_t>(status)]; };
  out->set_created_at(batch.created);
  out->set_expires_at(batch.expires);
  out->set_in_progress_at(reached(BatchStatus::kInProgress));
  out->set_finalizing_at(reached(BatchStatus::kFinalizing));
  out->set_completed_at(reached(BatchStatus::kCompleted));
  out->set_failed_at(reached(BatchStatus::kFailed));
  out->set_expired_at(reached(BatchStatus::kExpired));
  out->set_cancelling_at(reached(BatchStatus::kCancelling));
  out->set_cancelled_at(reached(BatchStatus::kCancelled));
}

}  // namespace hadal::rpc
