// SPDX-License-Identifier: Apache-2.0
// Prompts of Qwen: <|im_start|>role ... <|im_end|>, tools in the Hermes form.
#include "models/chat/chat_styles.h"
#include "models/chat/tool_rendering.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kBegin = "<|im_start|>";
constexpr std::string_view kEnd = "<|im_end|>\n";

std::string_view TrimNewlines(std::string_view text, bool front, bool back) {
  while (front && text.starts_with('\n')) text.remove_prefix(1);
  while (back && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// An assistant's message without its reasoning, which comes apart or inside the content.
struct Answer {
  std::string_view reasoning;
  std::string_view content;
};

Answer Split(const ChatMessage& message) {
  Answer answer{message.reasoning_content, message.content};
  if (!answer.reasoning.empty()) return answer;
  const size_t end = answer.content.find(kThinkEnd);
  if (end == answer.content.npos) return answer;
  answer.reasoning = answer.content.substr(0, end);
  if (const size_t begin = answer.reasoning.rfind(kThinkBegin); begin != answer.reasoning.npos) {
    answer.reasoning.remove_prefix(begin + kThinkBegin.size());
  }
  answer.reasoning = TrimNewlines(answer.reasoning, true, true);
  answer.content.remove_prefix(answer.content.rfind(kThinkEnd) + kThinkEnd.size());
  answer.content = TrimNewlines(answer.content, true, false);
  return answer;
}

void AddReasoning(std::string_view reasoning, PromptBuilder* out) {
  out->Control("<think>\n").Text(TrimNewlines(reasoning, true, true)).Control("\n</think>\n\n");
}

absl::Status AddSystem(std::string_view system, const std::vector<ChatTool>& tools, PromptBuilder* out) {
  out->Control(kBegin).Control("system\n").Text(system);
  if (!tools.empty()) {
    if (!system.empty()) out->Control("\n\n");
    out->Control(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
        "function "
        "signatures within <tools></tools> XML tags:\n<tools>");
    for (const ChatTool& tool : tools) {
      HADAL_ASSIGN_OR_RETURN(const std::string definition, ToolDefinitionJson(tool));
      out->Control("\n{\"type\": \"function\", \"function\": ").Text(definition).Control("}");
    }
    out->Control(
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
        "<args-json-object>}\n</tool_call>");
  }
  out->Control(kEnd);
  return absl::OkStatus();
}

// The message to be continued: reasoning alone stays open.
void AddPrefix(const StyleInput& input, const ChatMessage& message, PromptBuilder* out) {
  if (!message.reasoning_content.empty() && message.content.empty()) {
    out->Control("<think>\n").Text(message.reasoning_content);
    out->SetReasoningOpen(true);
    return;
  }
  const bool quiet = input.has_thinking_switch && !input.options->thinking;
  if (quiet || !message.reasoning_content.empty()) AddReasoning(message.reasoning_content, out);
  out->Text(message.content);
}

}  // namespace

absl::Status RenderChatMl(const StyleInput& input, PromptBuilder* out) {
  const absl::Span<const ChatMessage> messages = input.messages;
  const bool has_system = IsSystemRole(messages.front());
  const std::string_view system = has_system ? std::string_view(messages.front().content) : input.default_system;
  if (has_system || !system.empty() || !input.options->tools.empty()) {
    HADAL_RETURN_IF_ERROR(AddSystem(system, input.options->tools, out));
  }
  // Only answers to the last question keep their reasoning: those between calls and results of tools.
  size_t last_question = messages.size() - 1;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "user") last_question = i;
  }
  for (size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool last = i + 1 == messages.size();
    if (message.role == "tool") {
      if (i == 0 || messages[i - 1].role != "tool") out->Control(kBegin).Control("user");
      out->Control("\n<tool_response>\n").Text(message.content).Control("\n</tool_response>");
      if (last || messages[i + 1].role != "tool") out->Control(kEnd);
      continue;
    }
    out->Control(kBegin).Control(IsSystemRole(message) ? "system" : message.role).Control("\n");
    if (message.prefix) {
      AddPrefix(input, message, out);
      return absl::OkStatus();
    }
    std::string_view content = message.content;
    if (message.role == "assistant" && input.strips_reasoning) {
      const Answer answer = Split(message);
      content = answer.content;
      if (i > last_question && (last || !answer.reasoning.empty())) {
        AddReasoning(answer.reasoning, out);
        content = TrimNewlines(content, true, false);
      }
    }
    out->Text(content);
    RenderToolCalls(input.tool_syntax, message.tool_calls, /*leads=*/!content.empty(), out);
    out->Control(kEnd);
  }
  if (!input.options->add_generation_prompt) return absl::OkStatus();
  out->Control(kBegin).Control("assistant\n");
  if (input.has_thinking_switch && !input.options->thinking) out->Control("<think>\n\n</think>\n\n");
  return absl::OkStatus();
}

}  // namespace hadal::chat
