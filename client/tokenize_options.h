// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/message.h"

namespace hadal::client {

// A text, or messages, whose tokens are wanted. What is left out is the server's default.
struct TokenizeOptions {
  std::string model;                         // empty: the server's first
  std::string text;                          // either this
  std::vector<Message> messages;             // or these, as a chat with them would render them
  std::optional<bool> add_special_tokens;    // at the beginning; default true
  int thinking = -1;                         // of messages: 1 on, 0 off, -1 the template's default
  std::optional<bool> parse_special_tokens;  // control tokens written in `text` become such
  // Of messages, as ChatOptions':
  std::string chat_template_kwargs;
  std::vector<std::string> documents;
};

struct TokenizeResult {
  std::vector<int32_t> token_ids;
  int max_model_len = 0;  // tokens that the model takes, answer included
};

struct DetokenizeOptions {
  std::string model;  // empty: the server's first
  std::vector<int32_t> token_ids;
  bool skip_special_tokens = false;
};

}  // namespace hadal::client
