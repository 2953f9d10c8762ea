// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/chat/chat_template.h"
#include "models/chat/prompt_builder.h"

// Tools inside prompts: what the renderers of several generations share.
namespace hadal::chat {

// The calls of an assistant message as the model would have written them, nothing for no calls; the markup's lead comes
// first where `leads`. Names, arguments and parameter values are text, the rest control.
void RenderToolCalls(ToolSyntax syntax, const std::vector<ChatToolCall>& calls, bool leads, PromptBuilder* out);

// Schema and function object in the form of Python's json.dumps(ensure_ascii=False). InvalidArgument names the tool.
absl::StatusOr<std::string> ToolParametersJson(const ChatTool& tool);
absl::StatusOr<std::string> ToolDefinitionJson(const ChatTool& tool);

}  // namespace hadal::chat
