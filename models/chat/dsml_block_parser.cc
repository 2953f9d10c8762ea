// SPDX-License-Identifier: Apache-2.0
// Tool calls of V3.2 and V4: an element for each call and for each of its parameters, values without any escaping.
#include <set>
#include <utility>

#include "models/chat/marker_text.h"
#include "models/chat/python_json.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kInvokeBegin = "<｜DSML｜invoke";
constexpr std::string_view kInvokeEnd = "</｜DSML｜invoke>";
constexpr std::string_view kParameterBegin = "<｜DSML｜parameter";
constexpr std::string_view kParameterEnd = "</｜DSML｜parameter>";
// Spaces in front of a closing tag that do not belong to plain JSON arguments.
constexpr size_t kMaxSpacesHeld = 16;

enum class Match { kNo, kPartial, kYes };

// Reads an opening tag at the begin of a text, in which spaces may stand between the parts.
class TagReader {
 public:
  explicit TagReader(std::string_view text)
      : text_(text.substr(0, ToolBlockParser::kMaxHeaderBytes)),
        full_(text.size() >= ToolBlockParser::kMaxHeaderBytes) {}

  TagReader& Literal(std::string_view literal) {
    if (match_ != Match::kYes) return *this;
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with(literal)) {
      at_ += literal.size();
    } else {
      match_ = CouldBecome(rest, literal) ? Match::kPartial : Match::kNo;
    }
    return *this;
  }
  TagReader& Spaces(size_t at_least) {
    if (match_ != Match::kYes) return *this;
    const size_t spaces = CountSpaces(text_.substr(at_));
    at_ += spaces;
    if (spaces < at_least) match_ = at_ == text_.size() ? Match::kPartial : Match::kNo;
    return *this;
  }
  // What stands before the closing quote, which is consumed too.
  TagReader& Quoted(std::string_view* value) {
    Literal("\"");
    if (match_ != Match::kYes) return *this;
    const size_t quote = text_.find('"', at_);
    if (quote == text_.npos) {
      match_ = Match::kPartial;
    } else if (quote == at_) {
      match_ = Match::kNo;
    } else {
      *value = text_.substr(at_, quote - at_);
      at_ = quote + 1;
    }
    return *this;
  }

  // A tag that is longer than a header may be is none.
  Match match() const { return match_ == Match::kPartial && full_ ? Match::kNo : match_; }
  size_t size() const { return at_; }

 private:
  std::string_view text_;
  bool full_;
  size_t at_ = 0;
  Match match_ = Match::kYes;
};

class DsmlBlockParser : public ToolBlockParser {
 public:
  DsmlBlockParser(std::string_view block_end, std::string text_before)
      : ToolBlockParser(std::move(text_before)), block_end_(block_end) {}

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    switch (state_) {
      case State::kGap:
        return ParseGap(rest, last, used);
      case State::kCall:
        return ParseCall(rest, last, used, out);
      case State::kString:
        return ParseString(rest, last, used, out);
      case State::kJson:
        return ParseJson(rest, last, used, out);
      case State::kWhole:
        return ParseWhole(rest, last, used, out);
    }
    return Step::kBroken;
  }

 private:
  enum class State {
    kGap,     // before a call or the end of the block
    kCall,    // inside a call, before a parameter or its end
    kString,  // value of a parameter with string="true"
    kJson,    // value of any other parameter
    kWhole,   // all arguments as one JSON text, where parameters should stand
  };

  Step ParseGap(std::string_view rest, bool last, size_t* used) {
    if (!SkipSpaces(rest, used)) return Step::kBroken;
    rest.remove_prefix(*used);
    std::string_view name;
    TagReader tag(rest);
    tag.Literal(kInvokeBegin).Spaces(1).Literal("name=").Quoted(&name).Spaces(0).Literal(">");
    if (tag.match() == Match::kYes) {
      // The call counts once what follows its tag makes sense.
      name_ = name;
      call_started_ = false;
      keys_.clear();
      held_.append(rest.substr(0, tag.size()));
      *used += tag.size();
      state_ = State::kCall;
      return Step::kAgain;
    }
    const bool holds_opener = !held_.empty();
    if (rest.starts_with(block_end_) && !holds_opener) {
      *used += block_end_.size();
      return Step::kDone;
    }
    const bool incomplete = tag.match() == Match::kPartial || (!holds_opener && CouldBecome(rest, block_end_));
    if (incomplete && !last) return Step::kNeedMore;
    return rest.empty() && !holds_opener ? Step::kDone : Step::kBroken;
  }

  Step ParseCall(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    if (!SkipSpaces(rest, used)) return Step::kBroken;
    rest.remove_prefix(*used);
    std::string_view key, type;
    TagReader tag(rest);
    tag.Literal(kParameterBegin).Spaces(1).Literal("name=").Quoted(&key).Spaces(1);
    tag.Literal("string=").Quoted(&type).Spaces(0).Literal(">");
    if (tag.match() == Match::kYes) {
      const bool is_string = type == "true";
      if ((!is_string && type != "false") || !keys_.emplace(key).second) return Step::kBroken;
      StartCall(out);
      out->AddArguments((keys_.size() == 1 ? "{" : ", ") + PythonJsonString(key) + (is_string ? ": \"" : ": "));
      *used += tag.size();
      state_ = is_string ? State::kString : State::kJson;
      searched_ = 0;
      return Step::kAgain;
    }
    if (rest.starts_with('{') && keys_.empty()) {
      StartCall(out);
      state_ = State::kWhole;
      return Step::kAgain;
    }
    // A call also ends where the next one begins or where the block ends: models forget the closing tag.
    const bool closed = rest.starts_with(kInvokeEnd);
    if (closed || rest.starts_with(kInvokeBegin) || rest.starts_with(block_end_)) {
      StartCall(out);
      out->AddArguments(keys_.empty() ? "{}" : "}");
      if (closed) *used += kInvokeEnd.size();
      state_ = State::kGap;
      return Step::kAgain;
    }
    const bool incomplete = tag.match() == Match::kPartial || CouldBecome(rest, kInvokeEnd) ||
                            CouldBecome(rest, kInvokeBegin) || CouldBecome(rest, block_end_);
    if (incomplete && !last) return Step::kNeedMore;
    if (!last || !call_started_ || !incomplete) return Step::kBroken;
    // Cut off inside a tag: the arguments stay as they are.
    *used += rest.size();
    return Step::kDone;
  }

  Step ParseString(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const size_t end = rest.find(kParameterEnd);
    const size_t size = end != rest.npos ? end : rest.size() - PartialAtEnd(rest, kParameterEnd);
    std::string escaped;
    AppendPythonJsonEscaped(rest.substr(0, size), &escaped);
    *used = size;
    if (end == rest.npos) {
      out->AddArguments(escaped);
      if (!last) return Step::kNeedMore;
      *used = rest.size();
      return Step::kDone;
    }
    out->AddArguments(escaped + "\"");
    *used += kParameterEnd.size();
    state_ = State::kCall;
    return Step::kAgain;
  }

  Step ParseJson(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const size_t end = rest.find(kParameterEnd, searched_);
    if (end == rest.npos && !last) {
      searched_ = rest.size() - std::min(rest.size(), kParameterEnd.size() - 1);
      return Step::kNeedMore;
    }
    if (end == rest.npos) {
      out->AddArguments(rest.substr(0, rest.size() - PartialAtEnd(rest, kParameterEnd)));
      *used = rest.size();
      return Step::kDone;
    }
    const std::string_view value = rest.substr(0, end);
    out->AddArguments(IsJson(value) ? std::string(value) : PythonJsonString(value));
    *used = end + kParameterEnd.size();
    state_ = State::kCall;
    return Step::kAgain;
  }

  Step ParseWhole(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const size_t end = rest.find(kInvokeEnd);
    size_t size = end;
    if (end == rest.npos) size = rest.size() - PartialAtEnd(rest, kInvokeEnd);
    const size_t spaces = CountAtEnd(rest.substr(0, size), kSpaces, kMaxSpacesHeld);
    out->AddArguments(rest.substr(0, size - spaces));
    *used = size - spaces;
    if (end == rest.npos) {
      if (!last) return Step::kNeedMore;
      *used = rest.size();
      return Step::kDone;
    }
    *used = end + kInvokeEnd.size();
    state_ = State::kGap;
    return Step::kAgain;
  }

  void StartCall(ToolCallSink* out) {
    if (call_started_) return;
    call_started_ = true;
    held_.clear();
    out->StartCall(name_);
  }

  const std::string_view block_end_;
  State state_ = State::kGap;
  std::string name_;
  bool call_started_ = false;
  std::set<std::string> keys_;
  size_t searched_ = 0;  // bytes of the rest that hold no end of the value
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeDsmlBlockParser(ToolSyntax syntax, std::string text_before) {
  std::string_view block_end = ToolMarkupOf(syntax).block_end;
  block_end.remove_prefix(CountSpaces(block_end));
  return std::make_unique<DsmlBlockParser>(block_end, std::move(text_before));
}

}  // namespace hadal::chat
