// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::tokenizer {

struct ChatToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text, passed through unchanged
};

struct ChatMessage {
  std::string role;  // system, developer (treated as system), user, assistant, tool
  std::string content;
  std::string reasoning_content;  // assistant only; history reasoning is dropped, a prefix message keeps it
  std::vector<ChatToolCall> tool_calls;
  std::string tool_call_id;
  std::string name;
  bool prefix = false;  // last assistant message: continue this text instead of starting a new turn
};

struct ChatTool {
  std::string name;
  std::string description;
  std::string parameters_json;  // JSON schema as the client sent it; empty means {}
};

struct ChatOptions {
  bool thinking = true;  // asks for a reasoning part where the template knows both modes
  bool add_generation_prompt = true;
  std::vector<ChatTool> tools;
};

// A rendered prompt: literals of the template (control) and text of the users, in order.
struct Prompt {
  struct Piece {
    std::string text;
    bool control = false;
  };
  std::vector<Piece> pieces;
  // The template opened <think>: what the model generates starts inside the reasoning.
  bool reasoning_starts_open = false;

  std::string Text() const;
};

enum class ChatStyle { kDeepSeekV2, kDeepSeekV3, kDeepSeekR1, kDeepSeekV31, kDeepSeekCoder, kChatMl, kLlama3 };
std::string_view ChatStyleName(ChatStyle style);

// How a generation writes tool calls; what OutputParser must expect.
enum class ToolSyntax { kNone, kDeepSeekV3, kDeepSeekV31 };

// Renders messages to a prompt as one model generation expects it. Value type, immutable, thread-safe.
class ChatTemplate {
 public:
  // Chooses the style from the checkpoint's chat template, or from its control tokens when it brings none.
  // NotFound "no chat template for ..." when neither is known; servers report it when a chat request comes.
  static absl::StatusOr<ChatTemplate> Detect(const Tokenizer& tokenizer);
  static absl::StatusOr<ChatTemplate> ForStyle(ChatStyle style, const Tokenizer& tokenizer);

  // InvalidArgument for an unknown role, a prefix message that is not last, tools where the style has no syntax for
  // them.
  absl::StatusOr<Prompt> Render(absl::Span<const ChatMessage> messages, const ChatOptions& options) const;

  ChatStyle style() const { return style_; }
  ToolSyntax tool_syntax() const;
  // Whether ChatOptions::thinking changes the prompt.
  bool has_thinking_switch() const { return has_thinking_switch_; }
  // Whether outputs may hold a reasoning part at all.
  bool has_reasoning() const { return has_reasoning_; }

 private:
  ChatTemplate() = default;
  ChatStyle style_ = ChatStyle::kDeepSeekV3;
  std::string bos_;
  std::string eos_;
  std::string default_system_;  // ChatML: what the template says when there is no system message
  bool forces_think_ = false;   // R1: the generation prompt ends with <think>\n
  bool has_thinking_switch_ = false;
  bool has_reasoning_ = false;
  bool has_tools_ = true;
  bool strips_reasoning_ = false;  // history turns lose everything up to </think>
};

// Ids of a rendered prompt: literals may become control tokens, user text never does. The prompt carries its own bos.
absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Tokenizer& tokenizer, const Prompt& prompt);

}  // namespace hadal::tokenizer
