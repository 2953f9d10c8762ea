// SPDX-License-Identifier: Apache-2.0
// Tool calls of Qwen: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, each a block of its own.
#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "models/chat/marker_text.h"
#include "models/chat/python_json.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kEnd = "</tool_call>";

struct Call {
  std::string name;
  std::string arguments = "{}";  // as the model wrote them
};

// False unless the text is one JSON object with a name.
bool ReadCall(std::string_view text, Call* call) {
  // The parser below only looks at what it is asked for.
  if (!IsJson(text)) return false;
  simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(text);
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return false;
  if (document.get_object().get(object) != simdjson::SUCCESS) return false;
  for (auto field : object) {
    simdjson::ondemand::value value;
    std::string_view key;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS) return false;
    if (field.value().get(value) != simdjson::SUCCESS) return false;
    if (key == "name") {
      std::string_view name;
      if (value.get_string().get(name) != simdjson::SUCCESS) return false;
      call->name = name;
    } else if (key == "arguments" || key == "parameters") {
      simdjson::ondemand::json_type type;
      if (value.type().get(type) != simdjson::SUCCESS) return false;
      std::string_view arguments;
      if (type == simdjson::ondemand::json_type::string) {
        if (value.get_string().get(arguments) != simdjson::SUCCESS) return false;
      } else if (simdjson::to_json_string(value).get(arguments) != simdjson::SUCCESS) {
        return false;
      }
      call->arguments = arguments;
    }
  }
  return !call->name.empty();
}

class HermesBlockParser : public ToolBlockParser {
 public:
  using ToolBlockParser::ToolBlockParser;

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    const size_t spaces = CountSpaces(rest);
    if (spaces < rest.size() && rest[spaces] != '{') return Step::kBroken;
    const size_t end = rest.find(kEnd, searched_);
    if (end == rest.npos && !last) {
      searched_ = rest.size() - std::min(rest.size(), kEnd.size() - 1);
      return Step::kNeedMore;
    }
    Call call;
    if (!ReadCall(rest.substr(0, end), &call)) {
      // All of it is content, so that the next block begins after this one.
      *used = end == rest.npos ? rest.size() : end + kEnd.size();
      held_.append(rest.substr(0, *used));
      return Step::kBroken;
    }
    out->StartCall(call.name);
    out->AddArguments(call.arguments);
    held_.clear();
    *used = end == rest.npos ? rest.size() : end + kEnd.size();
    return Step::kDone;
  }

 private:
  size_t searched_ = 0;  // bytes of the rest that hold no end of the block
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeHermesBlockParser(std::string text_before) {
  return std::make_unique<HermesBlockParser>(std::move(text_before));
}

}  // namespace hadal::chat
