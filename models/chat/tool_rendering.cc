// SPDX-License-Identifier: Apache-2.0
#include "models/chat/tool_rendering.h"

#include "models/chat/python_json.h"
#include "models/concat.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

void RenderParameter(const ToolMarkup& markup, const JsonMember& member, PromptBuilder* out) {
  out->Control(markup.parameter_begin).Text(member.key);
  out->Control(member.is_string ? markup.parameter_type_string : markup.parameter_type_json);
  out->Text(member.value).Control(markup.parameter_end);
}

// Arguments that are no JSON object become one parameter of the name "arguments", as in the published V4 encoder.
void RenderParameters(const ToolMarkup& markup, const std::string& arguments, PromptBuilder* out) {
  const absl::StatusOr<std::vector<JsonMember>> members = PythonJsonMembers(arguments);
  if (!members.ok()) return RenderParameter(markup, {"arguments", arguments, true}, out);
  bool first = true;
  for (const JsonMember& member : *members) {
    if (!first) out->Control(markup.parameter_separator);
    first = false;
    RenderParameter(markup, member, out);
  }
}

absl::Status NameTool(const absl::Status& status, const ChatTool& tool, std::string_view what) {
  return absl::InvalidArgumentError(models::Concat(what, " of the tool ", tool.name, ": ",
                                                   std::string_view(status.message().data(), status.message().size())));
}

}  // namespace

void RenderToolCalls(ToolSyntax syntax, const std::vector<ChatToolCall>& calls, bool leads, PromptBuilder* out) {
  if (calls.empty()) return;
  const ToolMarkup& markup = ToolMarkupOf(syntax);
  if (leads) out->Control(markup.lead);
  out->Control(markup.block_begin);
  bool first = true;
  for (const ChatToolCall& call : calls) {
    if (!first) out->Control(markup.call_separator);
    first = false;
    out->Control(markup.call_begin).Text(call.name).Control(markup.name_end);
    if (markup.arguments == ToolMarkup::Arguments::kParameters) {
      RenderParameters(markup, call.arguments, out);
    } else {
      out->Text(call.arguments);
    }
    out->Control(markup.call_end);
  }
  out->Control(markup.block_end);
}

absl::StatusOr<std::string> ToolParametersJson(const ChatTool& tool) {
  if (tool.parameters_json.empty()) return std::string("{}");
  absl::StatusOr<std::string> json = ToPythonJson(tool.parameters_json);
  if (!json.ok()) return NameTool(json.status(), tool, "parameters");
  return json;
}

absl::StatusOr<std::string> ToolDefinitionJson(const ChatTool& tool) {
  if (!tool.definition_json.empty()) {
    absl::StatusOr<std::string> json = ToPythonJson(tool.definition_json);
    if (!json.ok()) return NameTool(json.status(), tool, "definition");
    return json;
  }
  HADAL_ASSIGN_OR_RETURN(const std::string parameters, ToolParametersJson(tool));
  std::string json = models::Concat("{\"name\": ", PythonJsonString(tool.name));
  if (!tool.description.empty()) json += models::Concat(", \"description\": ", PythonJsonString(tool.description));
  return json + models::Concat(", \"parameters\": ", parameters, "}");
}

}  // namespace hadal::chat
