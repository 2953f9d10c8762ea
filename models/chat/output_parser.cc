// SPDX-License-Identifier: Apache-2.0
#include "models/chat/output_parser.h"

#include <algorithm>
#include <utility>

#include "models/chat/marker_text.h"

namespace hadal::chat {
namespace {

constexpr size_t kMaxLeadingSpaces = 64;

// Newlines in front of a block that belong to it, where its markup begins with some.
constexpr size_t kMaxLead = 2;

struct Opener {
  size_t begin;  // npos without one
  size_t size;   // of the opener, or of what may become one at the end of the text
};

// The first marker in `text` that opens a block.
Opener FindOpener(const ToolMarkup& markup, std::string_view text) {
  Opener found{text.find(markup.opener), markup.opener.size()};
  if (!markup.other_opener.empty()) {
    const size_t other = text.find(markup.other_opener);
    if (other < found.begin) found = {other, markup.other_opener.size()};
  }
  if (found.begin != text.npos) return found;
  found.size = PartialAtEnd(text, markup.opener);
  if (!markup.other_opener.empty()) found.size = std::max(found.size, PartialAtEnd(text, markup.other_opener));
  return found;
}

}  // namespace

OutputParser::OutputParser(Options options)
    : options_(options),
      state_(!options_.split_reasoning      ? State::kContent
             : options_.starts_in_reasoning ? State::kReasoning
                                            : State::kStart),
      reasoning_started_(options_.continues_reasoning) {}

ParsedDelta OutputParser::Push(std::string_view text) {
  ParsedDelta out;
  buffer_.append(text);
  while (Step(/*last=*/false, &out)) {
  }
  buffer_.erase(0, std::exchange(position_, 0));
  return out;
}

ParsedDelta OutputParser::Finish() {
  ParsedDelta out;
  while (Step(/*last=*/true, &out)) {
  }
  buffer_.clear();
  position_ = 0;
  return out;
}

bool OutputParser::Step(bool last, ParsedDelta* out) {
  switch (state_) {
    case State::kStart:
      return StepStart(last);
    case State::kReasoning:
      return StepReasoning(last, out);
    case State::kAfterReasoning:
      return StepAfterReasoning();
    case State::kContent:
      return StepContent(last, out);
    case State::kToolBlock:
      return StepToolBlock(last, out);
  }
  return false;
}

bool OutputParser::StepStart(bool last) {
  const std::string_view rest = Rest();
  const size_t spaces = std::min(rest.find_first_not_of(kSpaces), rest.size());
  const std::string_view text = rest.substr(spaces);
  if (text.starts_with(kThinkBegin) && spaces <= kMaxLeadingSpaces) {
    Consume(spaces + kThinkBegin.size());
    state_ = State::kReasoning;
    return true;
  }
  if (!last && spaces <= kMaxLeadingSpaces && CouldBecome(text, kThinkBegin)) return false;
  state_ = State::kContent;
  return true;
}

// Newlines at the end wait: before </think> they are dropped, before anything else they come out.
void OutputParser::EmitReasoning(std::string_view text, bool before_marker, ParsedDelta* out) {
  if (!options_.trim_newlines) {
    out->reasoning.append(text);
    return;
  }
  if (!reasoning_started_) text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  const size_t last_text = text.find_last_not_of('\n');
  if (last_text != text.npos) {
    reasoning_started_ = true;
    out->reasoning.append(held_newlines_, '\n');
    out->reasoning.append(text.substr(0, last_text + 1));
    held_newlines_ = text.size() - last_text - 1;
  } else {
    held_newlines_ += text.size();
  }
  if (before_marker) held_newlines_ = 0;
}

bool OutputParser::StepReasoning(bool last, ParsedDelta* out) {
  const std::string_view rest = Rest();
  const size_t end = rest.find(kThinkEnd);
  if (end != rest.npos) {
    EmitReasoning(rest.substr(0, end), /*before_marker=*/true, out);
    Consume(end + kThinkEnd.size());
    state_ = State::kAfterReasoning;
    return true;
  }
  const size_t size = rest.size() - (last ? 0 : PartialAtEnd(rest, kThinkEnd));
  EmitReasoning(rest.substr(0, size), /*before_marker=*/false, out);
  Consume(size);
  if (last) out->reasoning.append(std::exchange(held_newlines_, 0), '\n');
  return false;
}

bool OutputParser::StepAfterReasoning() {
  if (options_.trim_newlines) {
    while (!Rest().empty() && Rest().front() == '\n') Consume(1);
    if (Rest().empty()) return false;
  }
  state_ = State::kContent;
  return true;
}

bool OutputParser::StepContent(bool last, ParsedDelta* out) {
  const std::string_view rest = Rest();
  if (options_.tool_syntax == ToolSyntax::kNone) {
    out->content.append(rest);
    Consume(rest.size());
    return false;
  }
  const ToolMarkup& markup = ToolMarkupOf(options_.tool_syntax);
  if (markup.starts_bare && !content_begun_) return StepBareBegin(last);
  const Opener opener = FindOpener(markup, rest);
  const bool found = opener.begin != rest.npos;
  const std::string_view before = rest.substr(0, found ? opener.begin : rest.size() - (last ? 0 : opener.size));
  const size_t lead = markup.lead.empty() || (last && !found) ? 0 : CountAtEnd(before, "\n", kMaxLead);
  out->content.append(before.substr(0, before.size() - lead));
  Consume(before.size() - lead);
  if (!found) return false;
  OpenBlock(lead + opener.size);
  return true;
}

bool OutputParser::StepBareBegin(bool last) {
  const std::string_view rest = Rest();
  const size_t spaces = CountSpaces(rest);
  const bool few = spaces <= kMaxLeadingSpaces;
  if (spaces == rest.size() && few && !last) return false;
  content_begun_ = true;
  if (spaces < rest.size() && few && rest[spaces] == '{') {
    OpenBlock(spaces);
    block_is_bare_ = true;
  }
  return true;
}

void OutputParser::OpenBlock(size_t bytes) {
  block_ = MakeToolBlockParser(options_.tool_syntax, std::string(Rest().substr(0, bytes)), options_.parameter_types);
  block_is_bare_ = false;
  Consume(bytes);
  state_ = State::kToolBlock;
}

bool OutputParser::StepToolBlock(bool last, ParsedDelta* out) {
  size_t used = 0;
  delta_ = out;
  // Once a call has come, what is cut off in the next one's header is no text: nobody else wrote these markers.
  const bool may_be_cut = last && tool_call_count_ > 0 && !block_->held().empty();
  ToolBlockParser::Step step = block_->Parse(Rest(), last && !may_be_cut, &used, this);
  if (may_be_cut && step == ToolBlockParser::Step::kNeedMore) {
    step = ToolBlockParser::Step::kDone;
    used = Rest().size();
  }
  delta_ = nullptr;
  Consume(used);
  if (step == ToolBlockParser::Step::kAgain) return true;
  if (step == ToolBlockParser::Step::kNeedMore) return false;
  if (step == ToolBlockParser::Step::kBroken) {
    out->content.append(block_->held());
    if (!block_is_bare_) ++broken_block_count_;
  }
  block_.reset();
  state_ = State::kContent;
  return true;
}

void OutputParser::StartCall(std::string_view name) {
  delta_->tool_calls.push_back({tool_call_count_++, std::string(name), {}});
}

void OutputParser::AddArguments(std::string_view json) {
  if (json.empty()) return;
  const int index = tool_call_count_ - 1;
  std::vector<ToolCallDelta>& calls = delta_->tool_calls;
  if (calls.empty() || calls.back().index != index) calls.push_back({index, {}, {}});
  calls.back().arguments.append(json);
}

}  // namespace hadal::chat
