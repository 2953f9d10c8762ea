// SPDX-License-Identifier: Apache-2.0
// Tool calls of Qwen: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, each a block of its own.
#include <algorithm>
#include <utility>

#include "models/chat/call_object.h"
#include "models/chat/marker_text.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kEnd = "</tool_call>";

class HermesBlockParser : public ToolBlockParser {
 public:
  using ToolBlockParser::ToolBlockParser;

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    const size_t spaces = CountSpaces(rest);
    if (spaces < rest.size() && rest[spaces] != '{') return Step::kBroken;
    const size_t end = FindEnd(rest);
    if (end == rest.npos && !last) return Step::kNeedMore;
    CallObject call;
    if (!ReadCallObject(rest.substr(0, end), &call)) {
      // All of it is content, so that the next block begins after this one.
      *used = end == rest.npos ? rest.size() : end + kEnd.size();
      held_.append(rest.substr(0, *used));
      return Step::kBroken;
    }
    out->StartCall(call.name);
    out->AddArguments(call.arguments.value_or("{}"));
    held_.clear();
    *used = end == rest.npos ? rest.size() : end + kEnd.size();
    return Step::kDone;
  }

 private:
  // The first end of the block that stands in no string.
  size_t FindEnd(std::string_view rest) {
    for (;;) {
      const size_t end = rest.find(kEnd, searched_);
      if (end == rest.npos) {
        searched_ = std::max(searched_, rest.size() - std::min(rest.size(), kEnd.size() - 1));
        return end;
      }
      extent_.Find(rest.substr(0, end));
      if (!extent_.in_string()) return end;
      searched_ = end + kEnd.size();
    }
  }

  size_t searched_ = 0;  // bytes of the rest that hold no end of the block
  JsonExtent extent_;
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeHermesBlockParser(std::string text_before) {
  return std::make_unique<HermesBlockParser>(std::move(text_before));
}

}  // namespace hadal::chat
