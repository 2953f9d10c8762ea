// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/codec/json_body.h"
#include "server/service/calls.h"

namespace hadal::http {

// What shapes the response of POST /v1/messages.
struct MessagesOptions {
  bool stream = false;
  bool omit_thinking = false;  // thinking.display "omitted": blocks without their text
};

struct MessagesBody {
  service::ChatCall call;
  MessagesOptions response;
};

// Decodes the body of POST /v1/messages, Anthropic's API, into a chat. Unknown fields are ignored, and so are tools
// that the server would have to run (a line in the log says so). Ranges are the service's business; here are types, and
// what this server does not offer. `counting`: the body of /v1/messages/count_tokens, which needs no max_tokens.
absl::StatusOr<MessagesBody> DecodeMessages(std::string_view body, int max_depth, bool counting = false);

// --- messages_turns.cc ---
// "system": a text, or blocks of text, which are lines.
absl::Status ReadSystem(const simdjson::dom::element& value, std::string* out);
// Appends "messages" to the call: blocks of a turn become one message and its results of tools messages of their own;
// turns of one role that follow each other are one. A last turn of the assistant is continued.
absl::Status ReadTurns(const simdjson::dom::element& value, service::ChatCall* call);

}  // namespace hadal::http
