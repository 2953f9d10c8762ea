// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace hadal::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// A complete response with a body of known length.
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers;
  std::string body;
};

// {"error":{"message","type","param","code"}} for a status, by the table of request/refusal.h. The code is the reason's
// name, but for OpenAI's "context_length_exceeded".
std::string ErrorObject(const absl::Status& status);

// The status as a response: HTTP status (capacity refusals become `overload_http_status`), error object,
// Retry-After, retry-after-ms, x-should-retry and x-hadal-reason.
Response ErrorResponse(const absl::Status& status, int overload_http_status);
int HttpStatusOf(const absl::Status& status, int overload_http_status);

// Reason phrase of a status line.
std::string_view ReasonPhrase(int http_status);

}  // namespace hadal::http
