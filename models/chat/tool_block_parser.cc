// SPDX-License-Identifier: Apache-2.0
#include "models/chat/tool_block_parser.h"

#include <algorithm>
#include <utility>

#include "models/chat/marker_text.h"

namespace hadal::chat {

bool ToolBlockParser::SkipSpaces(std::string_view rest, size_t* used) {
  *used = 0;
  if (held_.size() > kMaxHeaderBytes) return false;
  size_t spaces = CountSpaces(rest);
  if (!held_.empty()) {
    // Held text ends at the same byte however the spaces arrive.
    spaces = std::min(spaces, kMaxHeaderBytes + 1 - held_.size());
    held_.append(rest.substr(0, spaces));
  }
  *used = spaces;
  return held_.size() <= kMaxHeaderBytes;
}

std::unique_ptr<ToolBlockParser> MakeToolBlockParser(ToolSyntax syntax, std::string text_before,
                                                     const ParameterTypes* types) {
  switch (syntax) {
    case ToolSyntax::kDsmlV32:
    case ToolSyntax::kDsmlV4:
      return MakeDsmlBlockParser(syntax, std::move(text_before));
    case ToolSyntax::kHermes:
      return MakeHermesBlockParser(std::move(text_before));
    case ToolSyntax::kQwenXml:
      return MakeQwenXmlBlockParser(std::move(text_before), types);
    case ToolSyntax::kMistral:
    case ToolSyntax::kMistralArgs:
      return MakeMistralBlockParser(std::move(text_before));
    case ToolSyntax::kLlama3:
      return MakeLlama3BlockParser(std::move(text_before));
    default:
      return MakeSeparatorBlockParser(syntax, std::move(text_before));
  }
}

}  // namespace hadal::chat
