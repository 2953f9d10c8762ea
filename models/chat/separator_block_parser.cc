// SPDX-License-Identifier: Apache-2.0
// Tool calls of V3, R1 and V3.1: a name and JSON between control tokens.
#include <algorithm>
#include <utility>

#include "models/chat/marker_text.h"
#include "models/chat/tool_block_parser.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kFenceBegin = "\n```json\n";
constexpr std::string_view kFenceEnd = "\n```";
constexpr std::string_view kFencedCallEnd = "\n```<｜tool▁call▁end｜>";

class SeparatorBlockParser : public ToolBlockParser {
 public:
  SeparatorBlockParser(bool fenced, std::string text_before)
      : ToolBlockParser(std::move(text_before)), fenced_(fenced) {}

  Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) override {
    *used = 0;
    switch (state_) {
      case State::kGap:
        return ParseGap(rest, last, used);
      case State::kHeader:
        return ParseHeader(rest, last, used, out);
      case State::kArguments:
        return ParseArguments(rest, last, used, out);
    }
    return Step::kBroken;
  }

 private:
  enum class State {
    kGap,     // before a call or the end of the block
    kHeader,  // after the beginning of a call, before its arguments
    kArguments,
  };

  Step ParseGap(std::string_view rest, bool last, size_t* used) {
    if (!SkipSpaces(rest, used)) return Step::kBroken;
    rest.remove_prefix(*used);
    const bool holds_opener = !held_.empty();
    if (rest.starts_with(kCallBegin)) {
      *used += kCallBegin.size();
      held_.append(kCallBegin);
      state_ = State::kHeader;
      return Step::kAgain;
    }
    if (rest.starts_with(kCallsEnd) && !holds_opener) {
      *used += kCallsEnd.size();
      return Step::kDone;
    }
    const bool incomplete = CouldBecome(rest, kCallBegin) || (!holds_opener && CouldBecome(rest, kCallsEnd));
    if (incomplete && !last) return Step::kNeedMore;
    return rest.empty() && !holds_opener ? Step::kDone : Step::kBroken;
  }

  Step ParseHeader(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    std::string_view window = rest.substr(0, kMaxHeaderBytes);
    // A call that ends before its header does is none, whatever may follow it.
    const size_t call_end = window.find(kCallEnd);
    window = window.substr(0, call_end);
    std::string_view name;
    size_t header_size = 0;
    const size_t separator = window.find(kSeparator);
    if (separator != window.npos) {
      name = window.substr(0, separator);
      header_size = separator + kSeparator.size();
      if (fenced_) {
        const size_t fence = window.find(kFenceBegin, header_size);
        name = fence == window.npos ? std::string_view() : window.substr(header_size, fence - header_size);
        header_size = fence == window.npos ? 0 : fence + kFenceBegin.size();
      }
    }
    const bool well_formed = header_size > 0 && !name.empty() && name.find_first_of("\n<") == name.npos;
    if (!well_formed) {
      // Only a header that is still growing may become one.
      const bool hopeless =
          header_size > 0 || rest.size() > kMaxHeaderBytes || last || call_end != std::string_view::npos;
      return hopeless ? Step::kBroken : Step::kNeedMore;
    }
    out->StartCall(name);
    *used = header_size;
    held_.clear();
    state_ = State::kArguments;
    return Step::kAgain;
  }

  Step ParseArguments(std::string_view rest, bool last, size_t* used, ToolCallSink* out) {
    const size_t end = rest.find(kCallEnd);
    if (end != rest.npos) {
      std::string_view arguments = rest.substr(0, end);
      if (fenced_ && arguments.ends_with(kFenceEnd)) arguments.remove_suffix(kFenceEnd.size());
      out->AddArguments(arguments);
      *used = end + kCallEnd.size();
      state_ = State::kGap;
      return Step::kAgain;
    }
    size_t kept = 0;
    if (!last) kept = std::max(PartialAtEnd(rest, kCallEnd), fenced_ ? PartialAtEnd(rest, kFencedCallEnd) : 0);
    out->AddArguments(rest.substr(0, rest.size() - kept));
    *used = rest.size() - kept;
    return last ? Step::kDone : Step::kNeedMore;
  }

  const bool fenced_;
  State state_ = State::kGap;
};

}  // namespace

std::unique_ptr<ToolBlockParser> MakeSeparatorBlockParser(ToolSyntax syntax, std::string text_before) {
  return std::make_unique<SeparatorBlockParser>(syntax == ToolSyntax::kDeepSeekV3, std::move(text_before));
}

}  // namespace hadal::chat
