// SPDX-License-Identifier: Apache-2.0
// Tool calls of Mistral: [TOOL_CALLS] before a list of JSON objects, or before each call as NAME[ARGS]{...}.
#include <algorithm>
#include <utility>

#include "models/chat/call_object.h"
#include "models/chat/marker_text.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kArgs = "[ARGS]";
constexpr std::string_view kCallId = "[CALL_ID]";
constexpr std::string_view kNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

class MistralBlockParser : public ToolBlockParser {
 public:
  using ToolBlockParser::ToolBlockParser;

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    switch (state_) {
      case State::kFirst:
        return ParseFirst(rest, last, used);
      case State::kName:
        return ParseName(rest, last, used, out);
      case State::kArguments:
        return ParseArguments(rest, last, used, out);
      case State::kObject:
        return ParseObject(rest, last, used, out);
      case State::kGap:
        return ParseGap(rest, last, used);
    }
    return Step::kBroken;
  }

 private:
  enum class State {
    kFirst,      // a list or a name follows
    kName,       // up to the arguments of the call
    kArguments,  // of a call by name
    kObject,     // before an object of the list
    kGap,        // after one
  };

  Step ParseFirst(std::string_view rest, bool last, size_t* used) {
    if (!SkipSpaces(rest, used)) return Step::kBroken;
    rest.remove_prefix(*used);
    if (rest.empty()) return last ? Step::kBroken : Step::kNeedMore;
    const bool list = rest.front() == '[';
    state_ = list ? State::kObject : State::kName;
    if (list) {
      *used += 1;
      held_ += '[';
    }
    return Step::kAgain;
  }

  Step ParseName(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const std::string_view window = rest.substr(0, kMaxHeaderBytes);
    const std::string_view name = window.substr(0, window.find_first_not_of(kNameCharacters));
    std::string_view between = window.substr(name.size());
    const size_t begin = between.find('{');
    between = between.substr(0, begin);
    if (name.empty() || !MayPrecede(between, /*whole=*/begin != between.npos)) return Step::kBroken;
    if (begin == between.npos) return last || window.size() == kMaxHeaderBytes ? Step::kBroken : Step::kNeedMore;
    out->StartCall(name);
    held_.clear();
    *used = name.size() + between.size();
    state_ = State::kArguments;
    return Step::kAgain;
  }

  // Whether this may stand, or begin to, between a name and its arguments.
  static bool MayPrecede(std::string_view text, bool whole) {
    if (text.starts_with(kCallId)) {
      text.remove_prefix(kCallId.size());
      text = text.substr(std::min(text.find_first_not_of(kNameCharacters), text.size()));
    } else if (!whole && CouldBecome(text, kCallId)) {
      return true;
    }
    if (text.starts_with(kArgs)) text.remove_prefix(kArgs.size());
    return text.find_first_not_of(kSpaces) == text.npos || (!whole && CouldBecome(text, kArgs));
  }

  Step ParseArguments(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const size_t size = extent_.Find(rest);
    if (size == rest.npos && !last) return Step::kNeedMore;
    *used = std::min(size, rest.size());
    out->AddArguments(rest.substr(0, *used));
    return Step::kDone;
  }

  Step ParseObject(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    if (!SkipSpaces(rest, used)) return Step::kBroken;
    rest.remove_prefix(*used);
    if (!rest.empty() && rest.front() != '{') return Step::kBroken;
    const size_t size = rest.empty() ? rest.npos : extent_.Find(rest);
    if (size == rest.npos) return last ? Step::kBroken : Step::kNeedMore;
    CallObject call;
    if (!ReadCallObject(rest.substr(0, size), &call)) return Step::kBroken;
    out->StartCall(call.name);
    out->AddArguments(call.arguments.value_or("{}"));
    held_.clear();
    extent_ = {};
    *used += size;
    state_ = State::kGap;
    return Step::kAgain;
  }

  Step ParseGap(std::string_view rest, bool last, size_t* used) {
    const size_t spaces = CountSpaces(rest);
    if (spaces == rest.size()) return last ? Step::kDone : Step::kNeedMore;
    const char c = rest[spaces];
    if (c != ',' && c != ']') return Step::kDone;
    *used = spaces + 1;
    if (c == ']') return Step::kDone;
    held_.assign(rest.substr(0, *used));
    state_ = State::kObject;
    return Step::kAgain;
  }

  State state_ = State::kFirst;
  JsonExtent extent_;
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeMistralBlockParser(std::string text_before) {
  return std::make_unique<MistralBlockParser>(std::move(text_before));
}

}  // namespace hadal::chat
