// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace hadal::chat {

// How a generation writes tool calls: what its prompts show, what OutputParser expects and what a grammar must allow.
enum class ToolSyntax {
  kNone,
  kDeepSeekV3,   // V3, V3-0324, R1, R1-0528: function<sep>NAME and fenced JSON
  kDeepSeekV31,  // V3.1: NAME<sep>JSON
  kDsmlV32,      // V3.2: <｜DSML｜function_calls>, one element a parameter
  kDsmlV4,       // V4: the same in <｜DSML｜tool_calls>
  kHermes,       // Qwen: <tool_call> around one JSON object a call
  kQwenXml,      // Qwen3-Coder: <tool_call> around <function=NAME>, one element a parameter, types by the schema
  kMistral,      // Mistral up to v7: [TOOL_CALLS] before a list of JSON objects
  kMistralArgs,  // Mistral from v11 on: [TOOL_CALLS]NAME[ARGS]{...} for each call
  kLlama3,       // Llama 3: the answer is {"name": ..., "parameters": {...}}, <|python_tag|> in front of it or not
};

// The markers around the reasoning part of every generation.
inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";

// The literals of a tool block, byte by byte as the model writes it:
//
//   lead block_begin CALL (call_separator CALL)* block_end
//   CALL       = call_begin NAME name_end ARGUMENTS call_end
//   ARGUMENTS  = one JSON object (kJson), or PARAMETER (parameter_separator PARAMETER)* (kParameters; none: empty)
//   PARAMETER  = parameter_begin KEY parameter_type_string VALUE parameter_end, VALUE any text without parameter_end,
//   or
//                parameter_begin KEY parameter_type_json VALUE parameter_end, VALUE one JSON text that is no string
// With kUntypedParameters the two types look alike, and VALUE is text where the tool's schema says string.
struct ToolMarkup {
  enum class Arguments : uint8_t { kJson, kParameters, kUntypedParameters };

  std::string_view opener;        // first marker of a block: from here on the text is no content any more
  std::string_view other_opener;  // what a block also begins with, when the model leaves the first marker out
  std::string_view lead;          // newlines in front of the block that belong to it
  std::string_view block_begin;
  std::string_view call_begin;
  std::string_view name_end;
  std::string_view call_end;
  std::string_view call_separator;
  std::string_view block_end;
  Arguments arguments = Arguments::kJson;
  std::string_view parameter_begin;
  std::string_view parameter_type_string;
  std::string_view parameter_type_json;
  std::string_view parameter_end;
  std::string_view parameter_separator;
  bool starts_bare = false;  // a block may begin without opener where the content begins, with a brace
  bool single_call = false;  // models write one call at a time
};

// All empty for kNone.
const ToolMarkup& ToolMarkupOf(ToolSyntax syntax);

// Every marker that OutputParser looks for. Where such a text is one special token it must not be left out of the text
// that the parser gets.
absl::Span<const std::string_view> ParserMarkers();

}  // namespace hadal::chat
