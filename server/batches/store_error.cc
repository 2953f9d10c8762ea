// SPDX-License-Identifier: Apache-2.0
#include "server/batches/store_error.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::batches {
namespace {

using request::MakeError;
using request::Reason;

// Files and batches end at no time that could be foreseen.
constexpr absl::Duration kQuotaRetry = absl::Seconds(60);
// A store that is away is asked again that often.
constexpr absl::Duration kAwayRetry = absl::Seconds(2);

// TENANT_QUOTA of what a tenant may keep; `what` names it, the limit and the value, and what to do.
absl::Status QuotaUsedUp(absl::string_view what) {
  return request::MakeRefusal(Reason::kTenantQuota, std::string(what), kQuotaRetry);
}

absl::Status FileQuotaUsedUp(absl::string_view what) {
  return QuotaUsedUp(absl::StrCat(what, ": delete files that are not needed"));
}

bool IsForClients(const absl::Status& status) {
  bool for_clients = false;
  status.ForEachPayload([&](absl::string_view, const absl::Cord&) { for_clients = true; });
  return for_clients;
}

}  // namespace

absl::Status ClientError(const absl::Status& status) {
  if (status.ok() || IsForClients(status)) return status;
  base::Log(base::LogLevel::kError, "batches", base::StdView(status.message()));
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return MakeError(Reason::kStorageFull,
                       "the store of files and batches has no space left: delete files that are not needed");
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kFailedPrecondition:  // a Redis that came back as one that may not be used
      return request::MakeRefusal(Reason::kStorageUnavailable,
                                  "the store of files and batches cannot be reached; batches go on when it is back",
                                  kAwayRetry);
    default:
      return MakeError(Reason::kInternal, "the store of files and batches failed; the log says how");
  }
}

absl::Status MayHaveBeenMade(const absl::Status& status, absl::string_view what, absl::string_view list) {
  if (IsForClients(status) || !(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status))) return status;
  base::Log(base::LogLevel::kError, "batches", base::StdView(status.message()));
  return MakeError(Reason::kStorageUnavailable,
                   absl::StrCat("the store of files and batches did not say whether the ", what,
                                " was made: look for it in the list of ", list, " before another one is asked for"));
}

absl::Status NoFile(std::string_view id) {
  return MakeError(Reason::kObjectNotFound, absl::StrCat("no file has the id '", base::View(id.substr(0, 64)), "'"));
}

absl::Status NoBatch(std::string_view id) {
  return MakeError(Reason::kObjectNotFound, absl::StrCat("no batch has the id '", base::View(id.substr(0, 64)), "'"));
}

absl::Status FileIsRead(std::string_view batch) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("the batch ", base::View(batch), " reads this file: cancel it, or wait for its end"));
}

absl::Status NothingToCancel(const StoredBatch& batch) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("the batch ", batch.id, " is ", base::View(StatusName(batch.status)),
                                ": there is nothing to cancel"));
}

absl::Status TooManyBatches(const BatchOptions& options, int64_t unended) {
  return QuotaUsedUp(absl::StrCat(unended, " batches have not ended, the limit is ", options.max_key_batches,
                                  ": wait for one, or cancel one"));
}

absl::Status CheckMayUpload(const BatchOptions& options, int64_t files, int64_t bytes) {
  if (files >= options.max_key_files) {
    return FileQuotaUsedUp(absl::StrCat("there are ", files, " files, the limit is ", options.max_key_files));
  }
  if (bytes >= options.max_key_bytes) {
    return FileQuotaUsedUp(absl::StrCat("the files have ", bytes, " bytes, the limit is ", options.max_key_bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckKeyBytes(const BatchOptions& options, int64_t bytes) {
  if (bytes <= options.max_key_bytes) return absl::OkStatus();
  return FileQuotaUsedUp(
      absl::StrCat("with this one the files have ", bytes, " bytes, the limit is ", options.max_key_bytes));
}

absl::Status CheckFits(const BatchOptions& options, const Upload& upload, int64_t offset, size_t bytes) {
  if (offset + static_cast<int64_t>(bytes) <= upload.max_bytes) return absl::OkStatus();
  const bool by_file = upload.max_bytes == options.max_file_bytes;
  return MakeError(Reason::kBodyTooLarge,
                   absl::StrCat("the file is larger than ", upload.max_bytes,
                                by_file ? " bytes, the limit of one file" : " bytes, what the tenant's limit leaves"));
}

absl::Status CheckIsInput(const StoredFile& file) {
  if (file.purpose == "batch") return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("the file ", file.id, " has the purpose '", file.purpose,
                                "'; the input of a batch has the purpose 'batch'"),
                   "input_file_id");
}

BatchError RepeatedCustomId(const WaitingLine& line, int64_t first) {
  return {"duplicate_custom_id",
          absl::StrCat("line ", line.number, ": the custom_id '", line.custom_id.substr(0, 64), "' is that of line ",
                       first, "; each line needs one of its own"),
          line.number};
}

EndReason ReasonOf(BatchStatus end) {
  if (end == BatchStatus::kExpired) {
    return {"batch_expired", "This request could not be executed before the completion window expired."};
  }
  return {"batch_cancelled", "The batch was cancelled before this request was executed."};
}

}  // namespace hadal::batches
