// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "models/chat/tool_syntax.h"
#include "models/grammar/grammar_compiler.h"

namespace hadal::grammar {

struct GrammarTool {
  std::string name;
  std::string prepared_schema;  // of the arguments, an object; from PrepareSchema
};

enum class ToolUse : uint8_t {
  kMay,   // free text, and a tool block where the model opens one; nothing after the block
  kMust,  // a tool block and nothing else
};

// The answer as `syntax` writes tool calls, the arguments of each call under its tool's schema. `several`: a block may
// hold more than one call. At least one tool; `syntax` is not kNone.
GrammarSpec ToolSpec(const tokenizer::Tokenizer& tokenizer, chat::ToolSyntax syntax,
                     const std::vector<GrammarTool>& tools, ToolUse use, bool several, Reasoning reasoning);

// The answer is a tool block and nothing else, or what `answer` says. As above, and `syntax` begins its blocks with a
// marker: nobody could tell a bare call from an answer in JSON.
GrammarSpec ToolOrAnswerSpec(const tokenizer::Tokenizer& tokenizer, chat::ToolSyntax syntax,
                             const std::vector<GrammarTool>& tools, bool several, const GrammarSpec& answer);

}  // namespace hadal::grammar
