// SPDX-License-Identifier: Apache-2.0
// Prompts of the generations with <｜User｜> and <｜Assistant｜> tokens.
#include "models/chat/chat_styles.h"
#include "models/chat/tool_rendering.h"
#include "models/concat.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kUser = "<｜User｜>";
constexpr std::string_view kAssistant = "<｜Assistant｜>";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kOutputsBegin = "<｜tool▁outputs▁begin｜>";
constexpr std::string_view kOutputsEnd = "<｜tool▁outputs▁end｜>";
constexpr std::string_view kOutputBegin = "<｜tool▁output▁begin｜>";
constexpr std::string_view kOutputEnd = "<｜tool▁output▁end｜>";

std::string_view AfterLastThink(std::string_view content) {
  const size_t at = content.rfind(kThinkEnd);
  return at == content.npos ? content : content.substr(at + kThinkEnd.size());
}

std::string_view AfterFirstThink(std::string_view content) {
  const size_t at = content.find(kThinkEnd);
  return at == content.npos ? content : content.substr(at + kThinkEnd.size());
}

// The published V3 and R1 templates do not describe tools to the model; this is the form in general use for them.
absl::Status DescribeToolsV3(absl::Span<const ChatTool> tools, PromptBuilder* out) {
  out->Control(
         "\n\nYou are a helpful assistant with tool calling capabilities. When a tool call is needed, you MUST use the "
         "following format to issue the call:\n")
      .Control(kCallsBegin)
      .Control(kCallBegin)
      .Control("function")
      .Control(kSeparator)
      .Control("FUNCTION_NAME\n```json\n{\"param1\": \"value1\", \"param2\": \"value2\"}\n```")
      .Control(kCallEnd)
      .Control(kCallsEnd)
      .Control(
          "\n\nMake sure the JSON is valid.\n\n## Tools\n\n### Function\n\nYou have the following functions "
          "available:\n\n");
  for (const ChatTool& tool : tools) {
    HADAL_ASSIGN_OR_RETURN(const std::string definition, ToolDefinitionJson(tool));
    out->Control("- `").Text(tool.name).Control("`:\n```json\n{\"type\": \"function\", \"function\": ");
    out->Text(definition).Control("}\n```\n");
  }
  return absl::OkStatus();
}

absl::Status DescribeToolsV31(absl::Span<const ChatTool> tools, PromptBuilder* out) {
  out->Control("\n\n## Tools\nYou have access to the following tools:\n");
  for (const ChatTool& tool : tools) {
    HADAL_ASSIGN_OR_RETURN(const std::string parameters, ToolParametersJson(tool));
    out->Control("\n### ").Text(tool.name).Control("\nDescription: ").Text(tool.description);
    out->Control("\n\nParameters: ").Text(parameters).Control("\n");
  }
  out->Control("\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n")
      .Control(kCallsBegin)
      .Control(kCallBegin)
      .Control("tool_call_name")
      .Control(kSeparator)
      .Control("tool_call_arguments")
      .Control(kCallEnd)
      .Control("{additional_tool_calls}")
      .Control(kCallsEnd)
      .Control(
          "\n\nWhere:\n- `tool_call_name` must be an exact match to one of the available tools\n"
          "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
          "- For multiple tool calls, chain them directly without separators or spaces\n");
  return absl::OkStatus();
}

// A last assistant message to be continued: reasoning only leaves the thinking open, content closes it.
void RenderPrefixV3(const StyleInput& input, const ChatMessage& message, PromptBuilder* out) {
  if (!input.strips_reasoning || message.reasoning_content.empty()) {
    out->Text(message.content);
    return;
  }
  out->Control("<think>\n").Text(message.reasoning_content);
  out->SetReasoningOpen(message.content.empty());
  if (!message.content.empty()) out->Control("\n</think>\n\n").Text(message.content);
}

void RenderPrefixV31(const StyleInput& input, const ChatMessage& message, PromptBuilder* out) {
  if (!input.options->thinking) {
    out->Control(kThinkEnd).Text(message.content);
    return;
  }
  // Without reasoning the published template continues the content inside the thinking.
  out->Control("<think>").Text(message.reasoning_content);
  const bool closes = !message.reasoning_content.empty() && !message.content.empty();
  if (closes) out->Control(kThinkEnd);
  out->Text(message.content);
  out->SetReasoningOpen(!closes);
}

}  // namespace

absl::Status RenderDeepSeekV3(const StyleInput& input, PromptBuilder* out) {
  out->Control(input.bos).Text(JoinedSystem(input.messages));
  if (!input.options->tools.empty()) HADAL_RETURN_IF_ERROR(DescribeToolsV3(input.options->tools, out));
  bool in_outputs = false;
  bool opened = false;  // <｜Assistant｜> stands there already
  for (const ChatMessage& message : input.messages) {
    if (IsSystemRole(message)) continue;
    if (message.role == "tool") {
      if (!in_outputs) out->Control(kOutputsBegin);
      if (in_outputs && !input.joins_results) out->Control("\n");
      out->Control(kOutputBegin).Text(message.content).Control(kOutputEnd);
      in_outputs = true;
      opened = false;
      continue;
    }
    if (in_outputs) out->Control(kOutputsEnd);
    if (message.role == "user") {
      out->Control(kUser).Text(message.content);
      opened = input.opens_after_user;
      if (opened) out->Control(kAssistant);
    } else {
      // Text after tool outputs follows directly.
      if (!in_outputs && !input.opens_after_user) out->Control(kAssistant);
      opened = false;
      if (message.prefix) {
        RenderPrefixV3(input, message, out);
        return absl::OkStatus();
      }
      out->Text(input.strips_reasoning ? AfterLastThink(message.content) : std::string_view(message.content));
      RenderToolCalls(input.tool_syntax, message.tool_calls, /*leads=*/true, out);
      out->Control(input.eos);
    }
    in_outputs = false;
  }
  if (in_outputs) {
    out->Control(kOutputsEnd);
  } else if (input.options->add_generation_prompt) {
    if (!opened) out->Control(kAssistant);
    if (input.forces_think) out->Control("<think>\n");
    out->SetReasoningOpen(input.forces_think);
  }
  return absl::OkStatus();
}

absl::Status RenderDeepSeekV31(const StyleInput& input, PromptBuilder* out) {
  out->Control(input.bos).Text(JoinedSystem(input.messages));
  if (!input.options->tools.empty()) HADAL_RETURN_IF_ERROR(DescribeToolsV31(input.options->tools, out));
  bool after_user = false;
  bool after_tool = false;
  for (const ChatMessage& message : input.messages) {
    if (IsSystemRole(message)) continue;
    if (message.role == "user") {
      out->Control(kUser).Text(message.content);
      after_user = true;
      after_tool = false;
      continue;
    }
    if (message.role == "tool") {
      out->Control(kOutputBegin).Text(message.content).Control(kOutputEnd);
      after_user = false;
      after_tool = true;
      continue;
    }
    if (message.prefix) {
      if (after_user) out->Control(kAssistant);
      if (after_user) {
        RenderPrefixV31(input, message, out);
      } else {
        out->Text(message.content);
      }
      return absl::OkStatus();
    }
    if (after_user) out->Control(kAssistant).Control(kThinkEnd);
    const bool whole = after_tool || !message.tool_calls.empty();
    out->Text(whole ? std::string_view(message.content) : AfterFirstThink(message.content));
    RenderToolCalls(input.tool_syntax, message.tool_calls, /*leads=*/true, out);
    out->Control(input.eos);
    after_user = after_tool = false;
  }
  if (input.options->add_generation_prompt && after_user) {
    out->Control(kAssistant).Control(input.options->thinking ? std::string_view("<think>") : kThinkEnd);
    out->SetReasoningOpen(input.options->thinking);
  }
  return absl::OkStatus();
}

}  // namespace hadal::chat
