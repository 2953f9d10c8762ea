// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/batch_codec.h"

#include <simdjson.h>

#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"
#include "server/http/codec/json_body.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

using batches::BatchStatus;
using request::MakeError;
using request::Reason;

absl::Status ReadMetadata(const simdjson::dom::element& value, std::string* out) {
  simdjson::dom::object object;
  if (absl::Status status = ReadObject(value, "metadata", &object); !status.ok()) return status;
  if (absl::Status status = batches::CheckMetadataCount(object.size()); !status.ok()) return status;
  for (const simdjson::dom::key_value_pair field : object) {
    std::string text;
    const std::string path = absl::StrCat("metadata.", base::View(field.key.substr(0, batches::kMaxMetadataKey)));
    if (absl::Status status = ReadString(field.value, path, &text); !status.ok()) return status;
    if (absl::Status status = batches::CheckMetadataEntry(field.key, text); !status.ok()) return status;
  }
  *out = simdjson::minify(object);
  return absl::OkStatus();
}

absl::Status ReadExpiry(const simdjson::dom::element& value, int64_t* seconds) {
  constexpr std::string_view kPath = "output_expires_after";
  simdjson::dom::object object;
  if (absl::Status status = ReadObject(value, kPath, &object); !status.ok()) return status;
  std::string anchor;
  if (absl::Status status = ReadMember(object, kPath, "anchor", &anchor); !status.ok()) return status;
  if (anchor != "created_at")
    return InvalidField("output_expires_after.anchor", "`output_expires_after.anchor` must be created_at");
  const std::optional<simdjson::dom::element> given = FindMember(object, "seconds");
  if (!given.has_value())
    return InvalidField("output_expires_after.seconds", "`output_expires_after.seconds` is missing");
  int32_t read = 0;
  if (absl::Status status = ReadInt(*given, "output_expires_after.seconds", &read); !status.ok()) return status;
  *seconds = read;
  return batches::CheckExpiry(read, "output_expires_after.seconds");
}

// Null for 0.
void AppendTime(std::string_view name, int64_t unix_seconds, JsonWriter* json) {
  json->Key(name);
  if (unix_seconds == 0) {
    json->Null();
  } else {
    json->Int(unix_seconds);
  }
}

void AppendText(std::string_view name, std::string_view text, JsonWriter* json) {
  json->Key(name);
  if (text.empty()) {
    json->Null();
  } else {
    json->String(text);
  }
}

}  // namespace

absl::StatusOr<batches::BatchRequest> DecodeBatchBody(std::string_view body, int max_depth) {
  batches::BatchRequest out;
  std::string window;
  absl::Status status =
      ParseObject(body, max_depth, [&](std::string_view name, const simdjson::dom::element& value) -> absl::Status {
        if (name == "input_file_id") return ReadString(value, name, &out.input_file_id);
        if (name == "endpoint") return ReadString(value, name, &out.endpoint);
        if (name == "completion_window") return ReadString(value, name, &window);
        if (name == "metadata") return ReadMetadata(value, &out.metadata_json);
        if (name == "output_expires_after") return ReadExpiry(value, &out.result_seconds);
        return absl::OkStatus();  // as the API does with what it does not know
      });
  if (!status.ok()) return status;
  if (out.input_file_id.empty()) return InvalidField("input_file_id", "`input_file_id` is missing");
  if (absl::Status known = batches::CheckEndpoint(out.endpoint); !known.ok()) return known;
  if (!window.empty() && window != "24h")
    return UnsupportedField("completion_window", "`completion_window` must be 24h");
  return out;
}

absl::StatusOr<batches::ListQuery> ReadListQuery(std::string_view target, int64_t default_limit, int64_t max_limit) {
  batches::ListQuery query = {.limit = default_limit};
  const size_t question = target.find('?');
  if (question == target.npos) return query;
  for (const absl::string_view pair : absl::StrSplit(base::View(target.substr(question + 1)), '&')) {
    const std::pair<absl::string_view, absl::string_view> split = absl::StrSplit(pair, absl::MaxSplits('=', 1));
    const auto& [name, value] = split;
    const std::string shown(value.substr(0, kShownWordBytes));
    if (name == "after") {
      query.after = std::string(value);
    } else if (name == "purpose") {
      query.purpose = std::string(value);
    } else if (name == "order") {
      if (value != "asc" && value != "desc") {
        return MakeError(Reason::kOutOfRange, absl::StrCat("`order` is '", shown, "'; it must be asc or desc"),
                         "order");
      }
      query.newest_first = value == "desc";
    } else if (name == "limit") {
      if (!absl::SimpleAtoi(value, &query.limit) || query.limit < 1 || query.limit > max_limit) {
        return MakeError(Reason::kOutOfRange,
                         absl::StrCat("`limit` is '", shown, "'; it must be from 1 to ", max_limit), "limit");
      }
    }
  }
  return query;
}

void AppendFile(const batches::StoredFile& file, JsonWriter* json) {
  json->BeginObject().Key("id").String(file.id).Key("object").String("file").Key("bytes").Int(file.bytes);
  json->Key("created_at").Int(file.created);
  AppendTime("expires_at", file.expires, json);
  json->Key("filename").String(file.name).Key("purpose").String(file.purpose);
  json->Key("status").String("processed").Key("status_details").Null().EndObject();
}

void AppendBatch(const batches::StoredBatch& batch, JsonWriter* json) {
  json->BeginObject().Key("id").String(batch.id).Key("object").String("batch");
  json->Key("endpoint").String(batch.endpoint).Key("errors");
  if (batch.errors.empty()) {
    json->Null();
  } else {
    json->BeginObject().Key("object").String("list").Key("data").BeginArray();
    for (const batches::BatchError& error : batch.errors) {
      json->BeginObject().Key("code").String(error.code).Key("message").String(error.message);
      AppendTime("line", error.line, json);
      json->Key("param").Null().EndObject();
    }
    json->EndArray().EndObject();
  }
  json->Key("input_file_id").String(batch.input_file).Key("completion_window").String("24h");
  json->Key("status").String(batches::StatusName(batch.status));
  AppendText("output_file_id", batch.output_file, json);
  AppendText("error_file_id", batch.error_file, json);
  json->Key("created_at").Int(batch.created);
  const auto reached = [&](BatchStatus status) { return batch.reached[static_cast<size_t>(status)]; };
  AppendTime("in_progress_at", reached(BatchStatus::kInProgress), json);
  AppendTime("expires_at", batch.expires, json);
  AppendTime("finalizing_at", reached(BatchStatus::kFinalizing), json);
  AppendTime("completed_at", reached(BatchStatus::kCompleted), json);
  AppendTime("failed_at", reached(BatchStatus::kFailed), json);
  AppendTime("expired_at", reached(BatchStatus::kExpired), json);
  AppendTime("cancelling_at", reached(BatchStatus::kCancelling), json);
  AppendTime("cancelled_at", reached(BatchStatus::kCancelled), json);
  json->Key("request_counts").BeginObject().Key("total").Int(batch.total);
  json->Key("completed").Int(batch.completed).Key("failed").Int(batch.failed).EndObject();
  json->Key("metadata").Raw(batch.metadata_json).EndObject();
}

}  // namespace hadal::http
