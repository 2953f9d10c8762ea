// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/codec/common_codec.h"
#include "server/service/calls.h"

namespace hadal::http {

struct ChatBody {
  service::ChatCall call;
  ResponseOptions response;
};

// Decodes the body of POST /v1/chat/completions. `allow_prompt`: {"prompt": "..."} stands for one user message. Unknown
// fields are ignored. Ranges are the service's business; here are types, and what this server does not offer.
absl::StatusOr<ChatBody> DecodeChat(std::string_view body, int max_depth, bool allow_prompt);

// "messages" and "tools", shared with /tokenize.
absl::Status ReadMessages(const simdjson::dom::element& value, std::vector<chat::ChatMessage>* out);
// What `continue_final_message` asks for, as in vLLM and transformers: the same as `prefix` in the last message.
absl::Status ContinueFinalMessage(std::vector<chat::ChatMessage>* messages);
// `strict` gets a flag for each tool; null when nobody asks.
absl::Status ReadTools(const simdjson::dom::element& value, std::vector<chat::ChatTool>* out,
                       std::vector<bool>* strict = nullptr);
// "chat_template_kwargs": `json` is the object for the template, `thinking` what it says of that.
absl::Status ReadTemplateArguments(const simdjson::dom::element& value, std::optional<bool>* thinking,
                                   std::string* json);
// "documents": `json` is the list for the template, of at most service::kMaxDocuments objects.
absl::Status ReadDocuments(const simdjson::dom::element& value, std::string* json);

}  // namespace hadal::http
