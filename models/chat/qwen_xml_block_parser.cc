// SPDX-License-Identifier: Apache-2.0
// Tool calls of Qwen3-Coder: <function=NAME> with an element for each parameter, values without quotes or types. Models
// leave out <tool_call> and closing tags.
#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "models/chat/marker_text.h"
#include "models/chat/python_json.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kBlockEnd = "</tool_call>";
constexpr std::string_view kFunctionBegin = "<function=";
constexpr std::string_view kFunctionEnd = "</function>";
constexpr std::string_view kParameterBegin = "<parameter=";
// What ends a value. The newline in front of it is the template's.
constexpr std::string_view kValueEnds[] = {"\n</parameter>", "</parameter>", "\n<parameter=", "\n</function>"};
constexpr std::string_view kParameterEnd = kValueEnds[1];
constexpr size_t kLongestValueEnd = kValueEnds[0].size();

// A tag "<word=NAME>" at the begin of a text.
struct Tag {
  enum class Match { kNo, kPartial, kYes };
  Match match = Match::kNo;
  std::string_view name;
  size_t size = 0;
};

Tag ReadTag(std::string_view text, std::string_view begin) {
  text = text.substr(0, ToolBlockParser::kMaxHeaderBytes);
  if (!text.starts_with(begin)) return {CouldBecome(text, begin) ? Tag::Match::kPartial : Tag::Match::kNo};
  const size_t end = text.find_first_of(">\n<", begin.size());
  if (end == text.npos)
    return {text.size() < ToolBlockParser::kMaxHeaderBytes ? Tag::Match::kPartial : Tag::Match::kNo};
  if (text[end] != '>' || end == begin.size()) return {};
  return {Tag::Match::kYes, text.substr(begin.size(), end - begin.size()), end + 1};
}

class QwenXmlBlockParser : public ToolBlockParser {
 public:
  QwenXmlBlockParser(std::string text_before, const ParameterTypes* types)
      : ToolBlockParser(std::move(text_before)), types_(types), name_follows_(held_.ends_with(kFunctionBegin)) {}

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    switch (state_) {
      case State::kGap:
        return ParseGap(rest, last, used);
      case State::kCall:
        return ParseCall(rest, last, used, out);
      case State::kText:
        return ParseText(rest, last, used, out);
      case State::kWhole:
        return ParseWhole(rest, last, used, out);
    }
    return Step::kBroken;
  }

 private:
  enum class State {
    kGap,    // before a call or the end of the block
    kCall,   // inside a call, before a parameter or its end
    kText,   // value of a parameter that is free text
    kWhole,  // value of any other parameter, which counts once it is complete
  };

  Step ParseGap(std::string_view rest, bool last, size_t* used) {
    if (!name_follows_) {
      if (!SkipSpaces(rest, used)) return Step::kBroken;
      rest.remove_prefix(*used);
    }
    const Tag tag = ReadTag(rest, name_follows_ ? std::string_view() : kFunctionBegin);
    if (tag.match == Tag::Match::kYes) {
      // The call counts once what follows its tag makes sense.
      name_ = tag.name;
      call_started_ = false;
      keys_.clear();
      held_.append(rest.substr(0, tag.size));
      *used += tag.size;
      name_follows_ = false;
      state_ = State::kCall;
      return Step::kAgain;
    }
    const bool may_end = held_.empty();
    const bool incomplete = tag.match == Tag::Match::kPartial || (may_end && CouldBecome(rest, kBlockEnd));
    if (incomplete && !last) return Step::kNeedMore;
    if (!may_end) return Step::kBroken;
    if (rest.starts_with(kBlockEnd)) *used += kBlockEnd.size();
    return Step::kDone;
  }

  Step ParseCall(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    if (!SkipSpaces(rest, used)) return Step::kBroken;
    rest.remove_prefix(*used);
    const Tag tag = ReadTag(rest, kParameterBegin);
    if (tag.match == Tag::Match::kYes) {
      if (!keys_.emplace(tag.name).second) return Step::kBroken;
      StartCall(out);
      const ParameterType type = types_ == nullptr ? ParameterType() : types_->Find(name_, tag.name);
      out->AddArguments((keys_.size() == 1 ? "{" : ", ") + PythonJsonString(tag.name) +
                        (type.free_text() ? ": \"" : ": "));
      *used += tag.size;
      BeginValue(type);
      return Step::kAgain;
    }
    // A call also ends where the next one begins or where the block ends.
    const bool closed = rest.starts_with(kFunctionEnd);
    if (closed || rest.starts_with(kFunctionBegin) || rest.starts_with(kBlockEnd)) {
      StartCall(out);
      out->AddArguments(keys_.empty() ? "{}" : "}");
      if (closed) *used += kFunctionEnd.size();
      state_ = State::kGap;
      return Step::kAgain;
    }
    const bool incomplete = tag.match == Tag::Match::kPartial || CouldBecome(rest, kFunctionEnd) ||
                            CouldBecome(rest, kFunctionBegin) || CouldBecome(rest, kBlockEnd);
    if (incomplete && !last) return Step::kNeedMore;
    if (!last || !call_started_ || !incomplete) return Step::kBroken;
    // Cut off inside a tag: the arguments stay as they are.
    *used += rest.size();
    return Step::kDone;
  }

  Step ParseText(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    SkipNewline(&rest, used);
    const ValueEnd end = FindValueEnd(rest);
    std::string escaped;
    AppendPythonJsonEscaped(rest.substr(0, end.begin), &escaped);
    *used += end.begin + end.size;
    if (!end.found) {
      out->AddArguments(escaped);
      if (!last) return Step::kNeedMore;
      *used += rest.size() - end.begin;
      return Step::kDone;
    }
    out->AddArguments(escaped + "\"");
    state_ = State::kCall;
    return Step::kAgain;
  }

  Step ParseWhole(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    SkipNewline(&rest, used);
    const ValueEnd end = FindValueEnd(rest);
    if (!end.found && !last) {
      searched_ = rest.size() - std::min(rest.size(), kLongestValueEnd - 1);
      return Step::kNeedMore;
    }
    const std::string_view value = rest.substr(0, end.begin);
    if (!end.found) {
      out->AddArguments(value);
      *used += rest.size();
      return Step::kDone;
    }
    out->AddArguments(ParameterJson(value, type_));
    *used += end.begin + end.size;
    state_ = State::kCall;
    return Step::kAgain;
  }

  // The end of a value in `rest`, or what may become one at its end.
  struct ValueEnd {
    bool found;
    size_t begin;
    size_t size;  // of what belongs to the end
  };
  ValueEnd FindValueEnd(std::string_view rest) const {
    size_t first = rest.npos, partial = 0;
    for (const std::string_view end : kValueEnds) {
      first = std::min(first, rest.find(end, searched_));
      partial = std::max(partial, PartialAtEnd(rest, end));
    }
    if (first == rest.npos) return {false, rest.size() - partial, 0};
    const std::string_view end = rest.substr(first);
    if (end.starts_with(kParameterEnd)) return {true, first, kParameterEnd.size()};
    return {true, first, end.substr(1).starts_with(kParameterEnd) ? 1 + kParameterEnd.size() : 1};
  }

  void BeginValue(ParameterType type) {
    type_ = type;
    state_ = type.free_text() ? State::kText : State::kWhole;
    value_begun_ = false;
    searched_ = 0;
  }

  // The newline behind the tag is the template's.
  void SkipNewline(std::string_view* rest, size_t* used) {
    if (value_begun_ || rest->empty()) return;
    value_begun_ = true;
    if (rest->front() != '\n') return;
    rest->remove_prefix(1);
    *used = 1;
  }

  void StartCall(ToolCallSink* out) {
    if (call_started_) return;
    call_started_ = true;
    held_.clear();
    out->StartCall(name_);
  }

  const ParameterTypes* const types_;
  State state_ = State::kGap;
  bool name_follows_;  // the block began with <function=
  std::string name_;
  bool call_started_ = false;
  std::set<std::string> keys_;
  ParameterType type_;
  bool value_begun_ = false;
  size_t searched_ = 0;  // bytes of the rest that hold no end of the value
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeQwenXmlBlockParser(std::string text_before, const ParameterTypes* types) {
  return std::make_unique<QwenXmlBlockParser>(std::move(text_before), types);
}

}  // namespace hadal::chat
