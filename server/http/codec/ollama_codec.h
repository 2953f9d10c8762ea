// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/codec/json_body.h"
#include "server/service/calls.h"
#include "server/service/generate_service.h"

namespace hadal::http {

// The release of Ollama whose API this server speaks, for clients that ask: with levels of thinking, ids of calls and
// log-probabilities.
inline constexpr std::string_view kOllamaVersion = "0.12.11";

// What shapes the response of POST /api/chat and /api/generate.
struct OllamaOptions {
  bool stream = true;     // lines of JSON; Ollama's default
  bool message = true;    // /api/chat: a message; /api/generate: texts
  bool generates = true;  // false: nothing was asked, the client wants the model in memory, or out of it
  bool unload = false;    // with that: out of it
};

struct OllamaBody {
  std::variant<service::ChatCall, service::GenerateCall> call;
  OllamaOptions response;
};

// Decode the bodies of Ollama's routes. /api/generate is a chat of one turn, or plain text with `raw` or `suffix`.
// Options that this server does not have are ignored, as Ollama does, and a line in the log names them; so are unknown
// fields. Images, `template` and `context` are INVALID_REQUEST. Ranges are the service's business.
absl::StatusOr<OllamaBody> DecodeOllamaChat(std::string_view body, int max_depth);
absl::StatusOr<OllamaBody> DecodeOllamaGenerate(std::string_view body, int max_depth);

// The name without the ":latest" that Ollama's clients add, unless a model is served under the whole name.
std::string WithoutTag(std::string_view model, const service::GenerateService& service);

// --- ollama_messages.cc ---
// "messages". Calls of tools have no ids there, and results name the tool or nothing: a result answers the call that it
// names by id, else the first one of its tool that has no answer, else the first without one; INVALID_REQUEST when
// there is none.
absl::Status ReadOllamaMessages(const simdjson::dom::element& value, std::vector<chat::ChatMessage>* out);
// INVALID_REQUEST for a list that is not empty.
absl::Status RefuseImages(const simdjson::dom::element& value, std::string_view path);

}  // namespace hadal::http
