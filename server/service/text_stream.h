// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/chat/output_parser.h"
#include "models/tokenizer/detokenizer.h"
#include "models/tokenizer/tokenizer.h"
#include "server/request/token_stream.h"
#include "server/service/stop_matcher.h"

namespace hadal::service {

// Why a choice ended, as the client sees it.
enum class Finish : uint8_t { kNone, kStop, kLength, kToolCalls, kInsufficientSystemResource };
// "stop", "length", "tool_calls", "insufficient_system_resource"; empty for kNone.
std::string_view FinishName(Finish finish);

struct ToolDelta {
  int32_t index = 0;
  std::string id;         // set in the first delta of a call
  std::string name;       // set in the first delta of a call
  std::string arguments;  // next piece of the JSON text
};

// One generated token with its log-probability; token bytes come from Tokenizer::TokenBytes.
struct ScoredToken {
  int32_t token_id = 0;
  float logprob = 0.0f;
  std::vector<request::TokenLogprob> top;
  int64_t text_offset = 0;  // characters of this choice's output text before the token
  bool reasoning = false;   // the token belongs to the reasoning part
};

// What is new of one choice. Several tokens may have been merged.
struct ChoiceDelta {
  int32_t choice = 0;
  std::string text;  // never half a UTF-8 character
  std::string reasoning;
  std::vector<ToolDelta> tool_calls;
  std::vector<int32_t> token_ids;     // when asked for
  std::vector<ScoredToken> logprobs;  // when asked for
  Finish finish = Finish::kNone;      // set in the choice's last delta
  std::string stop_string;            // with `finish`, when one of the caller's ended the choice

  // Joins the next delta of the choice to this one.
  void Append(ChoiceDelta&& next);

  bool empty() const {
    return text.empty() && reasoning.empty() && tool_calls.empty() && token_ids.empty() && logprobs.empty() &&
           finish == Finish::kNone;
  }
};

// Converts the tokens of one choice into text, reasoning and tool-call deltas: detokenises, parses, and cuts at stop
// strings. Stop strings are matched in the content only, not in reasoning (with its markers) or tool calls. The
// concatenated deltas do not depend on how the tokens are split into calls.
//
// A token is reported (id, log-probability) with the delta that contains the end of its text; a token whose text lies
// entirely in or after a matched stop string is not reported. Tokens without text (skipped special tokens, unknown ids)
// may follow text that is held back, such as an incomplete character or the beginning of a stop string. After several
// such tokens they are reported before their text, so that a stream is never silent while tokens arrive. Not
// thread-safe; owns its state; the tokenizer must outlive it.
class TextStream {
 public:
  struct Options {
    bool skip_special_tokens = true;
    bool parse = false;                                           // chat: split into reasoning, content and tool calls
    chat::OutputParser::Options parser;                           // used when `parse`
    std::shared_ptr<const chat::ParameterTypes> parameter_types;  // what `parser` points to
    std::vector<int32_t> kept_special_tokens;                     // special tokens the parser must see, sorted
    bool token_ids = false;                                       // fill ChoiceDelta::token_ids
    bool logprobs = false;                                        // fill ChoiceDelta::logprobs
    std::string tool_call_id_prefix;                              // ids are prefix + running number
    int32_t choice = 0;
  };

  TextStream(const tokenizer::Tokenizer& tokenizer, std::shared_ptr<const StopStrings> stop, Options options);

  // Appends to `delta`. Returns true when a stop string has matched: call End(Finish::kStop) then; later tokens
  // are ignored.
  bool Push(request::TokenEvent&& event, ChoiceDelta* delta);
  // No more tokens: releases what was held back and sets delta->finish. `stop_token` is the token that ended the
  // choice, or -1: it counts, and is reported among the token ids, but has no text. No-op when already ended.
  void End(Finish finish, int32_t stop_token, ChoiceDelta* delta);

  bool finished() const { return finished_; }
  // What comes next is reasoning, as far as the tokens taken say.
  bool in_reasoning() const { return parser_.has_value() && parser_->in_reasoning(); }
  // Tokens taken up to the end, the stop token included; the part of them that was reasoning.
  int32_t tokens() const { return tokens_; }
  int32_t reasoning_tokens() const { return reasoning_tokens_; }
  // Calls that were delivered, and blocks that stayed text because they were malformed.
  int32_t tool_calls() const { return parser_.has_value() ? parser_->tool_call_count() : 0; }
  int32_t broken_tool_blocks() const { return parser_.has_value() ? parser_->broken_block_count() : 0; }

 private:
  struct HeldToken {
    ScoredToken token;
    size_t text_end = 0;       // offset in the choice's whole text
    size_t content_begin = 0;  // offsets in its content
    size_t content_end = 0;
  };

  // Takes text of the choice, or what the parser made of it.
  void Take(std::string_view text, ChoiceDelta* delta);
  void TakeParsed(chat::ParsedDelta&& parsed, ChoiceDelta* delta);
  void TakeToolCalls(std::vector<chat::ToolCallDelta>&& calls, ChoiceDelta* delta);
  // Appends to the held content and looks for a stop string.
  void TakeContent(std::string_view text);
  // Passes content up to `end` on, and reports the tokens whose text ends there.
  void Release(size_t end, ChoiceDelta* delta);
  // Reports the first held token.
  void PopToken(ChoiceDelta* delta);
  const tokenizer::Tokenizer* tokenizer_;
  Options options_;
  tokenizer::Detokenizer detokenizer_;
  const std::shared_ptr<const StopStrings> stop_;
  StopMatcher matcher_;
  size_t matcher_base_ = 0;    // content bytes before what the matcher was fed
  StopMatcher::Result match_;  // its begin counts from the beginning of the content
  std::optional<chat::OutputParser> parser_;
  std::deque<HeldToken> held_tokens_;
  std::string held_content_;      // not released yet
  size_t released_ = 0;           // content bytes that were released
  size_t content_total_ = 0;      // content bytes
  size_t total_ = 0;              // bytes of the whole text
  int64_t total_characters_ = 0;  // kept with log-probabilities only
  int textless_tokens_ = 0;       // since the last token with text
  int32_t tokens_ = 0;
  int32_t reasoning_tokens_ = 0;
  bool finished_ = false;
};

}  // namespace hadal::service
