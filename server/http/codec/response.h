// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/http/codec/api.h"

namespace hadal::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// A complete response with a body of known length.
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers;
  std::string body;
};

// The API's error object for a status, by the table of request/refusal.h. OpenAI's is {"error":{"message","type",
// "param","code"}}, where the code is the reason's name, but for "context_length_exceeded". Anthropic's is
// {"type":"error","error":{"type","message","details":{"error_code","param"}}} with the reason's name as its error
// code. Ollama's is {"error":"message"}.
std::string ErrorObject(const absl::Status& status, Api api = Api::kOpenAi);

// The status as a response: HTTP status (capacity refusals become `overload_http_status`), error object,
// Retry-After, retry-after-ms, x-should-retry and x-hadal-reason. Anthropic's and Ollama's APIs know no 422: there it
// is 400.
Response ErrorResponse(const absl::Status& status, int overload_http_status, Api api = Api::kOpenAi);
int HttpStatusOf(const absl::Status& status, int overload_http_status, Api api = Api::kOpenAi);

// Reason phrase of a status line.
std::string_view ReasonPhrase(int http_status);

}  // namespace hadal::http
