// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_request.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/strings.h"
#include "server/batches/store_error.h"
#include "server/request/refusal.h"

namespace hadal::batches {
namespace {

using request::MakeError;
using request::Reason;

constexpr std::array<std::string_view, 4> kBatchEndpoints = {"/v1/chat/completions", "/v1/completions", "/v1/responses",
                                                             "/v1/messages"};
// Those of OpenAI's API.
constexpr int64_t kMinExpiry = 3600;
constexpr int64_t kMaxExpiry = 30 * 24 * 3600;
// Of what a client sent, in a message.
constexpr size_t kShownBytes = 32;

}  // namespace

absl::Status BatchesAreOff() {
  return MakeError(Reason::kUnsupported, "files and batches are off on this server: --batch-store=DIR keeps them");
}

absl::Status CheckExpiry(int64_t seconds, std::string_view path) {
  if (seconds >= kMinExpiry && seconds <= kMaxExpiry) return absl::OkStatus();
  return MakeError(
      Reason::kOutOfRange,
      absl::StrCat("`", base::View(path), "` is ", seconds, "; it must be from ", kMinExpiry, " to ", kMaxExpiry),
      path);
}

absl::Status CheckPurpose(std::string_view purpose) {
  if (purpose == "batch") return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("`purpose` is '", base::View(purpose.substr(0, kShownBytes)),
                                "'; this server takes files with the purpose batch"),
                   "purpose");
}

absl::Status CheckEndpoint(std::string_view endpoint) {
  if (std::find(kBatchEndpoints.begin(), kBatchEndpoints.end(), endpoint) != kBatchEndpoints.end()) {
    return absl::OkStatus();
  }
  const auto name = [](std::string* text, std::string_view known) { text->append(known); };
  return MakeError(Reason::kUnsupported,
                   absl::StrCat("`endpoint` must be one of ", absl::StrJoin(kBatchEndpoints, ", ", name)), "endpoint");
}

absl::Status CheckPageSize(int64_t size, int64_t max, std::string_view path) {
  if (size >= 1 && size <= max) return absl::OkStatus();
  return MakeError(Reason::kOutOfRange,
                   absl::StrCat("`", base::View(path), "` is ", size, "; it must be from 1 to ", max), path);
}

absl::Status CheckMetadataCount(size_t entries) {
  if (entries <= kMaxMetadata) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("`metadata` has ", entries, " entries; it may have ", kMaxMetadata), "metadata");
}

absl::Status CheckMetadataEntry(std::string_view key, std::string_view value) {
  if (key.size() <= kMaxMetadataKey && value.size() <= kMaxMetadataValue) return absl::OkStatus();
  const std::string path = absl::StrCat("metadata.", base::View(key.substr(0, kMaxMetadataKey)));
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("`", path, "` has more than ", kMaxMetadataKey, " bytes as its name or ",
                                kMaxMetadataValue, " as its value"),
                   path);
}

std::string_view KeptName(std::string_view name) { return name.substr(0, kMaxFileNameBytes); }

absl::StatusOr<StoredBatch> CreateBatch(Tables& tables, std::string_view owner, const BatchRequest& wanted,
                                        int64_t now) {
  absl::StatusOr<StoredFile> input = tables.files.Find(owner, wanted.input_file_id);
  if (!input.ok()) return input.status();
  absl::StatusOr<StoredBatch> made = tables.batches.Create({.owner = std::string(owner),
                                                            .endpoint = wanted.endpoint,
                                                            .metadata_json = wanted.metadata_json,
                                                            .input = *std::move(input),
                                                            .result_seconds = wanted.result_seconds},
                                                           now);
  if (!made.ok()) return MayHaveBeenMade(made.status(), "batch", "batches");
  return made;
}

}  // namespace hadal::batches
