// SPDX-License-Identifier: Apache-2.0
// Tool calls of Llama 3: {"name": ..., "parameters": {...}}, with <|python_tag|> in front or where the content begins;
// several are separated by semicolons.
#include <algorithm>
#include <iterator>
#include <utility>

#include "models/chat/call_object.h"
#include "models/chat/marker_text.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

// How a call may begin. An object that begins otherwise is an answer in JSON, which must not wait for its end.
constexpr std::string_view kFirstKeys[] = {"\"name\"",     "\"type\"",       "\"id\"",
                                           "\"function\"", "\"parameters\"", "\"arguments\""};

class Llama3BlockParser : public ToolBlockParser {
 public:
  using ToolBlockParser::ToolBlockParser;

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    return state_ == State::kGap ? ParseGap(rest, last, used) : ParseCall(rest, last, used, out);
  }

 private:
  enum class State {
    kCall,
    kGap,  // after a call
  };

  Step ParseCall(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const size_t spaces = CountSpaces(rest);
    const std::string_view object = rest.substr(spaces);
    const bool may_begin = spaces <= kMaxHeaderBytes && MayBegin(object);
    if (!may_begin || (object.empty() && last)) return Step::kBroken;
    const size_t size = object.empty() ? object.npos : extent_.Find(object);
    if (size == object.npos) return last ? Step::kBroken : Step::kNeedMore;
    CallObject call;
    if (!ReadCallObject(object.substr(0, size), &call) || !call.arguments.has_value()) return Step::kBroken;
    out->StartCall(call.name);
    out->AddArguments(*call.arguments);
    held_.clear();
    extent_ = {};
    *used = spaces + size;
    state_ = State::kGap;
    return Step::kAgain;
  }

  Step ParseGap(std::string_view rest, bool last, size_t* used) {
    const size_t spaces = CountSpaces(rest);
    std::string_view after = rest.substr(spaces);
    if (spaces > kMaxHeaderBytes || (after.empty() && last)) return Step::kDone;
    if (after.empty()) return Step::kNeedMore;
    if (after.front() != ';' && after.front() != '{') return Step::kDone;
    *used = spaces + (after.front() == ';' ? 1 : 0);
    held_.assign(rest.substr(0, *used));
    state_ = State::kCall;
    return Step::kAgain;
  }

  // Whether the text is the begin of an object whose first key is one of a call.
  static bool MayBegin(std::string_view text) {
    if (text.empty()) return true;
    if (text.front() != '{') return false;
    text.remove_prefix(1);
    const size_t spaces = CountSpaces(text);
    if (spaces > kMaxHeaderBytes) return false;
    text.remove_prefix(spaces);
    return std::any_of(std::begin(kFirstKeys), std::end(kFirstKeys),
                       [&](std::string_view key) { return text.starts_with(key) || CouldBecome(text, key); });
  }

  State state_ = State::kCall;
  JsonExtent extent_;
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeLlama3BlockParser(std::string text_before) {
  return std::make_unique<Llama3BlockParser>(std::move(text_before));
}

}  // namespace hadal::chat
