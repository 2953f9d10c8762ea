// SPDX-License-Identifier: Apache-2.0
#include "client/batch_requests.h"

namespace hadal::client {
namespace {

absl::Time TimeOf(int64_t unix_seconds) {
  return unix_seconds == 0 ? absl::InfinitePast() : absl::FromUnixSeconds(unix_seconds);
}

// Names of the numbers that this library knows.
BatchState StateOf(v1::BatchStatus status) {
  static_assert(static_cast<int>(BatchState::kValidating) == v1::BATCH_STATUS_VALIDATING &&
                static_cast<int>(BatchState::kCancelled) == v1::BATCH_STATUS_CANCELLED);
  const bool known = status >= v1::BATCH_STATUS_VALIDATING && status <= v1::BATCH_STATUS_CANCELLED;
  return known ? static_cast<BatchState>(status) : BatchState::kUnknown;
}

int64_t EndOf(const v1::Batch& batch) {
  switch (batch.status()) {
    case v1::BATCH_STATUS_COMPLETED:
      return batch.completed_at();
    case v1::BATCH_STATUS_FAILED:
      return batch.failed_at();
    case v1::BATCH_STATUS_EXPIRED:
      return batch.expired_at();
    case v1::BATCH_STATUS_CANCELLED:
      return batch.cancelled_at();
    default:
      return 0;
  }
}

}  // namespace

v1::NewFile MessageOf(const Upload& upload) {
  v1::NewFile file;
  file.set_name(upload.name);
  file.set_purpose("batch");
  if (upload.keep != absl::ZeroDuration()) file.set_expires_after_seconds(absl::ToInt64Seconds(upload.keep));
  return file;
}

v1::CreateBatchRequest MessageOf(const NewBatch& batch) {
  v1::CreateBatchRequest request;
  request.set_input_file_id(batch.input_file);
  request.set_endpoint(batch.endpoint);
  for (const auto& [key, value] : batch.metadata) (*request.mutable_metadata())[key] = value;
  if (batch.keep_results != absl::ZeroDuration()) {
    request.set_output_expires_after_seconds(absl::ToInt64Seconds(batch.keep_results));
  }
  return request;
}

BatchFile FileOf(const v1::File& file) {
  return {.id = file.id(),
          .name = file.name(),
          .purpose = file.purpose(),
          .bytes = file.bytes(),
          .created = TimeOf(file.created_at()),
          .expires = TimeOf(file.expires_at())};
}

Batch BatchOf(const v1::Batch& batch) {
  Batch out = {.id = batch.id(),
               .endpoint = batch.endpoint(),
               .state = StateOf(batch.status()),
               .input_file = batch.input_file_id(),
               .output_file = batch.output_file_id(),
               .error_file = batch.error_file_id(),
               .total = batch.total(),
               .completed = batch.completed(),
               .failed = batch.failed(),
               .errors = {},
               .metadata = {batch.metadata().begin(), batch.metadata().end()},
               .created = TimeOf(batch.created_at()),
               .expires = TimeOf(batch.expires_at()),
               .ended = TimeOf(EndOf(batch))};
  for (const v1::BatchError& error : batch.errors())
    out.errors.push_back({error.code(), error.message(), error.line()});
  return out;
}

}  // namespace hadal::client
