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

}  // namespace

OutputParser::OutputParser(Options options)
    : options_(options),
      state_(!options.split_reasoning      ? State::kContent
             : options.starts_in_reasoning ? State::kReasoning
                                           : State::kStart) {}

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
  const size_t begin = rest.find(markup.opener);
  const bool found = begin != rest.npos;
  const std::string_view before =
      rest.substr(0, found ? begin : rest.size() - (last ? 0 : PartialAtEnd(rest, markup.opener)));
  const size_t lead = markup.lead.empty() || (last && !found) ? 0 : CountAtEnd(before, "\n", kMaxLead);
  out->content.append(before.substr(0, before.size() - lead));
  Consume(before.size() - lead);
  if (!found) return false;
  block_ = MakeToolBlockParser(options_.tool_syntax, std::string(Rest().substr(0, lead + markup.opener.size())));
  Consume(lead + markup.opener.size());
  state_ = State::kToolBlock;
  return true;
}

bool OutputParser::StepToolBlock(bool last, ParsedDelta* out) {
  size_t used = 0;
  delta_ = out;
  const ToolBlockParser::Step step = block_->Parse(Rest(), last, &used, this);
  delta_ = nullptr;
  Consume(used);
  if (step == ToolBlockParser::Step::kAgain) return true;
  if (step == ToolBlockParser::Step::kNeedMore) return false;
  if (step == ToolBlockParser::Step::kBroken) {
    out->content.append(block_->held());
    ++broken_block_count_;
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
