// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/codec/json_body.h"
#include "server/service/calls.h"

namespace hadal::http {

// What shapes the response of POST /v1/responses.
struct ResponsesOptions {
  bool stream = false;
  bool carries_reasoning = false;  // reasoning items have `encrypted_content`
  // Members of a JSON object, without its braces: what the response object repeats of the request.
  std::string echo;
};

struct ResponsesBody {
  service::ChatCall call;
  ResponsesOptions response;
  std::string service_tier;  // "" when the body names none
};

// Decodes the body of POST /v1/responses, OpenAI's API, into a chat. The server keeps nothing: `store` is ignored, and
// what refers to something stored is INVALID_REQUEST by name. Tools other than functions are left out (a line in the
// log says so); unknown fields are ignored.
absl::StatusOr<ResponsesBody> DecodeResponses(std::string_view body, int max_depth);

// --- responses_input.cc ---
// Appends "input" to the call, a text or a list of items: reasoning, text and calls of one turn of the assistant become
// one message.
absl::Status ReadInput(const simdjson::dom::element& value, service::ChatCall* call);

// The `encrypted_content` of a reasoning item. It is the text, in a form that clients carry and do not show: those that
// keep nothing else of a reasoning item send it back all the same.
std::string CarriedReasoning(std::string_view text);

}  // namespace hadal::http
