// SPDX-License-Identifier: Apache-2.0
#include "models/chat/tool_syntax.h"

namespace hadal::chat {
namespace {

constexpr ToolMarkup kNoMarkup;

constexpr ToolMarkup kV3{
    .opener = "<｜tool▁calls▁begin｜>",
    .block_begin = "<｜tool▁calls▁begin｜>",
    .call_begin = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    .name_end = "\n```json\n",
    .call_end = "\n```<｜tool▁call▁end｜>",
    .call_separator = "\n",
    .block_end = "<｜tool▁calls▁end｜>",
};

constexpr ToolMarkup kV31{
    .opener = "<｜tool▁calls▁begin｜>",
    .block_begin = "<｜tool▁calls▁begin｜>",
    .call_begin = "<｜tool▁call▁begin｜>",
    .name_end = "<｜tool▁sep｜>",
    .call_end = "<｜tool▁call▁end｜>",
    .block_end = "<｜tool▁calls▁end｜>",
};

constexpr ToolMarkup kV32{
    .opener = "<｜DSML｜function_calls>",
    .lead = "\n\n",
    .block_begin = "<｜DSML｜function_calls>\n",
    .call_begin = "<｜DSML｜invoke name=\"",
    .name_end = "\">\n",
    .call_end = "\n</｜DSML｜invoke>",
    .call_separator = "\n",
    .block_end = "\n</｜DSML｜function_calls>",
    .arguments = ToolMarkup::Arguments::kParameters,
    .parameter_begin = "<｜DSML｜parameter name=\"",
    .parameter_type_string = "\" string=\"true\">",
    .parameter_type_json = "\" string=\"false\">",
    .parameter_end = "</｜DSML｜parameter>",
    .parameter_separator = "\n",
};

constexpr ToolMarkup MakeV4() {
  ToolMarkup markup = kV32;
  markup.opener = "<｜DSML｜tool_calls>";
  markup.block_begin = "<｜DSML｜tool_calls>\n";
  markup.block_end = "\n</｜DSML｜tool_calls>";
  return markup;
}
constexpr ToolMarkup kV4 = MakeV4();

constexpr ToolMarkup kHermesMarkup{
    .opener = "<tool_call>",
    .lead = "\n",
    .call_begin = "<tool_call>\n{\"name\": \"",
    .name_end = "\", \"arguments\": ",
    .call_end = "}\n</tool_call>",
    .call_separator = "\n",
};

constexpr ToolMarkup kQwenXmlMarkup{
    .opener = "<tool_call>",
    .other_opener = "<function=",
    .lead = "\n",
    .call_begin = "<tool_call>\n<function=",
    .name_end = ">\n",
    .call_end = "</function>\n</tool_call>",
    .call_separator = "\n",
    .arguments = ToolMarkup::Arguments::kUntypedParameters,
    .parameter_begin = "<parameter=",
    .parameter_type_string = ">\n",
    .parameter_type_json = ">\n",
    .parameter_end = "\n</parameter>\n",
};

constexpr ToolMarkup kMistralMarkup{
    .opener = "[TOOL_CALLS]",
    .block_begin = "[TOOL_CALLS] [",
    .call_begin = "{\"name\": \"",
    .name_end = "\", \"arguments\": ",
    .call_end = "}",
    .call_separator = ", ",
    .block_end = "]",
};

constexpr ToolMarkup kMistralArgsMarkup{
    .opener = "[TOOL_CALLS]",
    .call_begin = "[TOOL_CALLS]",
    .name_end = "[ARGS]",
};

constexpr ToolMarkup kLlama3Markup{
    .opener = "<|python_tag|>",
    .call_begin = "{\"name\": \"",
    .name_end = "\", \"parameters\": ",
    .call_end = "}",
    .starts_bare = true,
    .single_call = true,
};

constexpr std::string_view kMarkers[] = {
    kThinkBegin,
    kThinkEnd,
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "｜DSML｜",
    "<tool_call>",
    "</tool_call>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[CALL_ID]",
    "[ARGS]",
};

}  // namespace

const ToolMarkup& ToolMarkupOf(ToolSyntax syntax) {
  switch (syntax) {
    case ToolSyntax::kNone:
      break;
    case ToolSyntax::kDeepSeekV3:
      return kV3;
    case ToolSyntax::kDeepSeekV31:
      return kV31;
    case ToolSyntax::kDsmlV32:
      return kV32;
    case ToolSyntax::kDsmlV4:
      return kV4;
    case ToolSyntax::kHermes:
      return kHermesMarkup;
    case ToolSyntax::kQwenXml:
      return kQwenXmlMarkup;
    case ToolSyntax::kMistral:
      return kMistralMarkup;
    case ToolSyntax::kMistralArgs:
      return kMistralArgsMarkup;
    case ToolSyntax::kLlama3:
      return kLlama3Markup;
  }
  return kNoMarkup;
}

absl::Span<const std::string_view> ParserMarkers() { return kMarkers; }

}  // namespace hadal::chat
