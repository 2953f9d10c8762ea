// SPDX-License-Identifier: Apache-2.0
// Prompts of deepseek-llm, V2 and coder, and of Llama 3.
#include "models/chat/chat_styles.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kCoderSystem =
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek Company, and you "
    "only answer "
    "questions related to computer science. For politically sensitive questions, security and privacy issues, and "
    "other "
    "non-computer science questions, you will refuse to answer\n";

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\f\v";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

}  // namespace

std::string JoinedSystem(absl::Span<const ChatMessage> messages) {
  std::string joined;
  bool first = true;
  for (const ChatMessage& message : messages) {
    if (!IsSystemRole(message)) continue;
    if (!first) joined += "\n\n";
    first = false;
    joined += message.content;
  }
  return joined;
}

absl::Status RenderDeepSeekV2(const StyleInput& input, PromptBuilder* out) {
  out->Control(input.bos);
  for (const ChatMessage& message : input.messages) {
    if (IsSystemRole(message)) {
      out->Text(message.content).Control("\n\n");
    } else if (message.role == "user") {
      out->Control("User: ").Text(message.content).Control("\n\n");
    } else {
      out->Control("Assistant: ").Text(message.content);
      if (message.prefix) return absl::OkStatus();
      out->Control(input.eos);
    }
  }
  // No space after the colon: the model writes it.
  if (input.options->add_generation_prompt) out->Control("Assistant:");
  return absl::OkStatus();
}

absl::Status RenderDeepSeekCoder(const StyleInput& input, PromptBuilder* out) {
  out->Control(input.bos);
  bool has_system = false;
  for (const ChatMessage& message : input.messages) has_system = has_system || IsSystemRole(message);
  if (!has_system) out->Control(kCoderSystem);
  for (const ChatMessage& message : input.messages) {
    if (IsSystemRole(message)) {
      out->Text(message.content);
    } else if (message.role == "user") {
      out->Control("### Instruction:\n").Text(message.content).Control("\n");
    } else {
      out->Control("### Response:\n").Text(message.content);
      if (message.prefix) return absl::OkStatus();
      out->Control("\n<|EOT|>\n");
    }
  }
  if (input.options->add_generation_prompt) out->Control("### Response:\n");
  return absl::OkStatus();
}

absl::Status RenderLlama3(const StyleInput& input, PromptBuilder* out) {
  out->Control(input.bos);
  for (const ChatMessage& message : input.messages) {
    out->Control("<|start_header_id|>")
        .Control(IsSystemRole(message) ? "system" : message.role)
        .Control("<|end_header_id|>\n\n");
    out->Text(message.prefix ? std::string_view(message.content) : Trim(message.content));
    if (message.prefix) return absl::OkStatus();
    out->Control("<|eot_id|>");
  }
  if (input.options->add_generation_prompt) out->Control("<|start_header_id|>assistant<|end_header_id|>\n\n");
  return absl::OkStatus();
}

}  // namespace hadal::chat
