// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/codec/common_codec.h"
#include "server/service/calls.h"

namespace hadal::http {

using PromptValue = std::variant<std::string, std::vector<int32_t>>;

struct CompletionBody {
  service::GenerateCall call;        // without its prompt
  std::vector<PromptValue> prompts;  // one call each; at least one
  bool echo = false;
  ResponseOptions response;
};

// Decodes the body of POST /v1/completions. "prompt" is a text, an array of texts, an array of token ids or an array of
// such arrays. Unknown fields are ignored.
absl::StatusOr<CompletionBody> DecodeCompletion(std::string_view body, int max_depth);

struct TokenizeBody {
  std::string model;
  std::string prompt;
  std::vector<chat::ChatMessage> messages;
  std::vector<chat::ChatTool> tools;
  bool add_special_tokens = true;
  bool add_generation_prompt = true;
  bool return_token_strs = false;
  std::optional<bool> thinking;
  std::string template_arguments_json;
  std::string documents_json;
  std::optional<bool> parse_special_tokens;
};
// {"prompt": "..."} or {"messages": [...]}.
absl::StatusOr<TokenizeBody> DecodeTokenize(std::string_view body, int max_depth);

struct DetokenizeBody {
  std::string model;
  std::vector<int32_t> tokens;
  bool skip_special_tokens = false;
};
absl::StatusOr<DetokenizeBody> DecodeDetokenize(std::string_view body, int max_depth);

}  // namespace hadal::http
