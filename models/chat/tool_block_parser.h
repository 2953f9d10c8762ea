// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "models/chat/parameter_types.h"
#include "models/chat/tool_syntax.h"

namespace hadal::chat {

// Takes what a block of tool calls turns out to hold.
class ToolCallSink {
 public:
  virtual ~ToolCallSink() = default;
  virtual void StartCall(std::string_view name) = 0;
  // The next piece of the arguments of the last call.
  virtual void AddArguments(std::string_view json) = 0;
};

// Parses one block of tool calls, from after its opener to its end, while the text grows. What it gives does not
// depend on how the text was cut. Not thread-safe; owns its state. Holds back one unfinished tag of at most
// kMaxHeaderBytes, one value that only counts as a whole, or one partial marker.
class ToolBlockParser {
 public:
  enum class Step {
    kAgain,     // something was consumed; call again
    kNeedMore,  // the text ends too early to decide
    kDone,      // the block is over: what follows is content
    kBroken,    // no tool call after all: held() and what follows are content
  };
  static constexpr size_t kMaxHeaderBytes = 1024;

  // `text_before` is what stood for the begin of the block: its lead and its opener.
  explicit ToolBlockParser(std::string text_before) : held_(std::move(text_before)) {}
  virtual ~ToolBlockParser() = default;

  // Looks at the begin of `rest` and sets how many bytes of it were consumed. With `last` no more text comes, and the
  // answer is not kNeedMore.
  virtual Step Parse(std::string_view rest, bool last, size_t* used, ToolCallSink* out) = 0;
  // Consumed text that has not led to a call yet.
  const std::string& held() const { return held_; }

 protected:
  // Consumes the spaces at the begin of `rest`. False when text is held and has become longer than a header may be.
  bool SkipSpaces(std::string_view rest, size_t* used);

  std::string held_;
};

// A parser for a block of this syntax, which must not be kNone. `types` may be null and outlives the parser.
std::unique_ptr<ToolBlockParser> MakeToolBlockParser(ToolSyntax syntax, std::string text_before,
                                                     const ParameterTypes* types);

// The parsers of each markup.
std::unique_ptr<ToolBlockParser> MakeSeparatorBlockParser(ToolSyntax syntax, std::string text_before);  // V3, V3.1
std::unique_ptr<ToolBlockParser> MakeDsmlBlockParser(ToolSyntax syntax, std::string text_before);       // V3.2, V4
std::unique_ptr<ToolBlockParser> MakeHermesBlockParser(std::string text_before);
std::unique_ptr<ToolBlockParser> MakeQwenXmlBlockParser(std::string text_before, const ParameterTypes* types);
std::unique_ptr<ToolBlockParser> MakeMistralBlockParser(std::string text_before);
std::unique_ptr<ToolBlockParser> MakeLlama3BlockParser(std::string text_before);

}  // namespace hadal::chat
