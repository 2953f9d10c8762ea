// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "models/chat/chat_template.h"
#include "models/chat/prompt_builder.h"

// The renderers of ChatTemplate, one for each kind of prompt. Messages are validated before: known roles, prefix
// only on a last assistant message, tools only where the style has a syntax for them.
namespace hadal::chat {

struct StyleInput {
  absl::Span<const ChatMessage> messages;
  const ChatOptions* options;
  std::string_view bos;
  std::string_view eos;
  std::string_view default_system;
  ToolSyntax tool_syntax = ToolSyntax::kNone;
  bool forces_think = false;
  bool opens_after_user = false;  // <｜Assistant｜> follows every user message
  bool joins_results = false;     // no line break between the results of tools
  bool strips_reasoning = false;  // history turns lose everything up to </think>
  bool has_thinking_switch = false;
};

// V2.5, V3, R1 and the distills: <｜User｜> ... <｜Assistant｜>, tool outputs in a block.
absl::Status RenderDeepSeekV3(const StyleInput& input, PromptBuilder* out);
// V3.1 and V3.2-Exp: every assistant turn opens with <think> or </think>.
absl::Status RenderDeepSeekV31(const StyleInput& input, PromptBuilder* out);
// V3.2: the published encoder, with tools in DSML.
absl::Status RenderDeepSeekV32(const StyleInput& input, PromptBuilder* out);
// V4: as V3.2, with tool results inside user turns and other rules for the reasoning of earlier turns.
absl::Status RenderDeepSeekV4(const StyleInput& input, PromptBuilder* out);
// deepseek-llm, deepseek-moe, V2: "User: ... Assistant:".
absl::Status RenderDeepSeekV2(const StyleInput& input, PromptBuilder* out);
// deepseek-coder instruct: "### Instruction: ... ### Response:".
absl::Status RenderDeepSeekCoder(const StyleInput& input, PromptBuilder* out);
// Qwen: <|im_start|>role ... <|im_end|>.
absl::Status RenderChatMl(const StyleInput& input, PromptBuilder* out);
// Llama 3: <|start_header_id|>role<|end_header_id|> ... <|eot_id|>.
absl::Status RenderLlama3(const StyleInput& input, PromptBuilder* out);

inline constexpr std::string_view kLatestReminder = "latest_reminder";

inline bool IsSystemRole(const ChatMessage& message) { return message.role == "system" || message.role == "developer"; }

// System and developer messages joined by empty lines.
std::string JoinedSystem(absl::Span<const ChatMessage> messages);

}  // namespace hadal::chat
