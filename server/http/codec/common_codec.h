// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/codec/json_body.h"
#include "server/service/calls.h"

namespace hadal::http {

// What shapes the response and the service does not need to know.
struct ResponseOptions {
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
  bool return_token_ids = false;
  std::string service_tier;  // "" when the body names none
};

// Reads a field that chat and plain completions share. False: the field is not one of them.
absl::StatusOr<bool> ReadCommonField(std::string_view name, const simdjson::dom::element& value,
                                     service::CallOptions* options, ResponseOptions* response);

// A text or an array of texts; `path` is the field's name.
absl::Status ReadStop(const simdjson::dom::element& value, std::string_view path, std::vector<std::string>* out);

// How an API writes the tools that a call may use, for those in which a tool is its function.
struct FlatTools {
  std::string_view type;        // of those that are offered; others are left out, with a line in the log
  bool type_may_miss = false;   // a tool without a type is offered, too
  std::string_view schema_key;  // the member that holds its schema
  std::string_view left_out;    // the line
};
// The call's tools are those of the array `value`, each with "name", "description", "strict" and its schema.
absl::Status ReadFlatTools(const simdjson::dom::element& value, const FlatTools& form, service::ChatCall* call);
// The tools are not to be shown to the model.
void HideTools(service::ChatCall* call);
// Puts a system prompt that stood in the field `path` in front of the messages; nothing where it is empty.
void PrependSystem(std::string text, std::string_view path, service::ChatCall* call);

// What can only be checked once every field has been read.
absl::Status CheckResponseOptions(const ResponseOptions& response, bool has_stream_options);

// Class of an OpenAI service_tier: priority, default or auto, flex; unknown names are OUT_OF_RANGE.
absl::StatusOr<std::optional<request::Priority>> PriorityOfTier(std::string_view service_tier);

}  // namespace hadal::http
