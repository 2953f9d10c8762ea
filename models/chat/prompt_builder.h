// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include "models/chat/chat_template.h"

namespace hadal::chat {

// Collects the pieces of a prompt; neighbours of one kind become one piece. Not thread-safe.
class PromptBuilder {
 public:
  // A literal of the template.
  PromptBuilder& Control(std::string_view text) { return Add(text, true); }
  // Text of a client.
  PromptBuilder& Text(std::string_view text) { return Add(text, false); }
  void SetReasoningOpen(bool open) { prompt_.reasoning_starts_open = open; }
  Prompt Take() { return std::move(prompt_); }

 private:
  PromptBuilder& Add(std::string_view text, bool control) {
    if (text.empty()) return *this;
    if (prompt_.pieces.empty() || prompt_.pieces.back().control != control) prompt_.pieces.push_back({{}, control});
    prompt_.pieces.back().text.append(text);
    return *this;
  }

  Prompt prompt_;
};

}  // namespace hadal::chat
