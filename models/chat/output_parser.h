// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/chat/tool_block_parser.h"
#include "models/chat/tool_syntax.h"

namespace hadal::chat {

// A new call (first delta of an index: `name` is set) or further text of its arguments.
struct ToolCallDelta {
  int index = 0;
  std::string name;
  std::string arguments;
};

struct ParsedDelta {
  std::string reasoning;
  std::string content;
  std::vector<ToolCallDelta> tool_calls;

  bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
};

// Splits generated text into reasoning, content and tool calls while it streams. Any cut of the text into chunks gives,
// joined, what the uncut text gives: a suffix that may be the start of a marker is held back.
// A block that is not a well-formed tool call is returned as content, unchanged, and so is the rest of a block after
// the first thing in it that makes no sense; calls that were given stay given, with the arguments as far as they came.
// Not thread-safe; one object for each choice of a request. Holds back at most one partial marker with the newlines
// before it, or what ToolBlockParser holds.
class OutputParser : private ToolCallSink {
 public:
  struct Options {
    // The prompt ended inside <think> (Prompt::reasoning_starts_open).
    bool starts_in_reasoning = false;
    // The prompt holds the first part of the reasoning: newlines that come next are inside it.
    bool continues_reasoning = false;
    // Recognise <think> ... </think>; false passes the markers on as content.
    bool split_reasoning = true;
    ToolSyntax tool_syntax = ToolSyntax::kNone;
    // Of the request's tools, for a syntax that writes values without their types; null: all are text. Outlives the
    // parser.
    const ParameterTypes* parameter_types = nullptr;
    // Newlines right after <think>, before </think> and after </think> belong to the markers.
    bool trim_newlines = true;
  };

  explicit OutputParser(Options options);

  ParsedDelta Push(std::string_view text);
  // Everything held back. Nothing may be pushed afterwards.
  ParsedDelta Finish();

  // Calls whose name has been emitted so far; more than 0 makes the finish reason "tool_calls".
  int tool_call_count() const { return tool_call_count_; }
  // Blocks that were opened and given back as content, wholly or from some place on.
  int broken_block_count() const { return broken_block_count_; }
  bool in_reasoning() const { return state_ == State::kReasoning; }

 private:
  enum class State {
    kStart,  // nothing but space so far; <think> may come
    kReasoning,
    kAfterReasoning,  // newlines after </think>
    kContent,
    kToolBlock,
  };

  // Each step consumes a part of Rest() and returns false when it needs more text. With `last` no more text comes.
  bool Step(bool last, ParsedDelta* out);
  bool StepStart(bool last);
  bool StepReasoning(bool last, ParsedDelta* out);
  bool StepAfterReasoning();
  bool StepContent(bool last, ParsedDelta* out);
  bool StepBareBegin(bool last);
  // A block whose lead and opener are the next `bytes`.
  void OpenBlock(size_t bytes);
  bool StepToolBlock(bool last, ParsedDelta* out);

  void EmitReasoning(std::string_view text, bool before_marker, ParsedDelta* out);
  void StartCall(std::string_view name) override;
  void AddArguments(std::string_view json) override;
  void Consume(size_t bytes) { position_ += bytes; }
  std::string_view Rest() const { return std::string_view(buffer_).substr(position_); }

  Options options_;
  State state_;
  std::string buffer_;
  size_t position_ = 0;  // start of the unread part of buffer_
  std::unique_ptr<ToolBlockParser> block_;
  ParsedDelta* delta_ = nullptr;  // takes the calls of the block while it is parsed
  bool block_is_bare_ = false;    // no marker opened it: content in JSON looks the same
  bool content_begun_ = false;    // a block without opener cannot begin any more
  size_t held_newlines_ = 0;      // newlines of the reasoning that may belong to </think>
  bool reasoning_started_;
  int tool_call_count_ = 0;
  int broken_block_count_ = 0;
};

}  // namespace hadal::chat
