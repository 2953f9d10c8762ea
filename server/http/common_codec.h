// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/json_body.h"
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

// What can only be checked once every field has been read.
absl::Status CheckResponseOptions(const ResponseOptions& response, bool has_stream_options);

// Class of an OpenAI service_tier: priority, default or auto, flex; unknown names are OUT_OF_RANGE.
absl::StatusOr<std::optional<request::Priority>> PriorityOfTier(std::string_view service_tier);

}  // namespace hadal::http
