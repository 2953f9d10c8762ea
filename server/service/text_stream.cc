// SPDX-License-Identifier: Apache-2.0
#include "server/service/text_stream.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace hadal::service {
namespace {

// So many tokens without text wait with the text before them; a character can be split over as many.
constexpr int kMaxTextlessWait = 4;

}  // namespace

std::string_view FinishName(Finish finish) {
  switch (finish) {
    case Finish::kNone:
      return "";
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kToolCalls:
      return "tool_calls";
    case Finish::kInsufficientSystemResource:
      return "insufficient_system_resource";
  }
  return "";
}

void ChoiceDelta::Append(ChoiceDelta&& next) {
  text += next.text;
  reasoning += next.reasoning;
  for (ToolDelta& call : next.tool_calls) {
    if (call.name.empty() && !tool_calls.empty()) {
      tool_calls.back().arguments += call.arguments;
    } else {
      tool_calls.push_back(std::move(call));
    }
  }
  token_ids.insert(token_ids.end(), next.token_ids.begin(), next.token_ids.end());
  for (ScoredToken& token : next.logprobs) logprobs.push_back(std::move(token));
  if (next.finish == Finish::kNone) return;
  finish = next.finish;
  stop_string = std::move(next.stop_string);
}

TextStream::TextStream(const tokenizer::Tokenizer& tokenizer, std::shared_ptr<const StopStrings> stop, Options options)
    : tokenizer_(&tokenizer),
      options_(std::move(options)),
      detokenizer_(tokenizer, /*skip_special_tokens=*/false),
      stop_(std::move(stop)),
      matcher_(stop_) {
  if (options_.parse) parser_.emplace(options_.parser);
}

bool TextStream::Push(request::TokenEvent&& event, ChoiceDelta* delta) {
  if (finished_) return true;
  ++tokens_;
  const int32_t id = event.token_id;
  const bool skipped =
      options_.skip_special_tokens && tokenizer_->IsSpecial(id) &&
      !std::binary_search(options_.kept_special_tokens.begin(), options_.kept_special_tokens.end(), id);
  HeldToken held;
  held.token.token_id = id;
  held.token.logprob = event.logprob;
  held.token.top = std::move(event.top);
  held.token.text_offset = total_characters_;
  held.content_begin = content_total_;
  textless_tokens_ = skipped || tokenizer_->TokenBytes(id).empty() ? textless_tokens_ + 1 : 0;
  const bool reasoning_before = in_reasoning();
  if (!skipped) Take(detokenizer_.Append(id), delta);
  // Bytes of an unfinished character come with a later token's text: the token ends one byte behind what is known.
  const size_t unfinished = !skipped && detokenizer_.pending_bytes() > 0 ? 1 : 0;
  held.text_end = total_ + unfinished;
  held.content_end = content_total_ + (parser_.has_value() ? 0 : unfinished);
  held.token.reasoning = reasoning_before || in_reasoning();
  held_tokens_.push_back(std::move(held));
  if (match_.matched) return true;
  Release(content_total_ - matcher_.held(), delta);
  // Their text waits on, but nothing says that it goes on: the tokens would wait until the end.
  if (textless_tokens_ > kMaxTextlessWait) {
    while (!held_tokens_.empty()) PopToken(delta);
  }
  return false;
}

void TextStream::End(Finish finish, int32_t stop_token, ChoiceDelta* delta) {
  if (finished_) return;
  if (!match_.matched) Take(detokenizer_.Flush(), delta);
  if (!match_.matched && parser_.has_value()) TakeParsed(parser_->Finish(), delta);
  if (match_.matched) {
    finish = Finish::kStop;
    delta->stop_string = stop_->strings()[match_.string_index];
    Release(match_.match_begin, delta);
    // A token that begins before the match and ends in it belongs to the text; one that lies in or behind it does not.
    while (!held_tokens_.empty() && held_tokens_.front().content_begin < match_.match_begin) PopToken(delta);
    held_tokens_.clear();
  } else {
    Release(content_total_, delta);
    while (!held_tokens_.empty()) PopToken(delta);
    if (stop_token >= 0) {
      ++tokens_;
      if (options_.token_ids) delta->token_ids.push_back(stop_token);
    }
  }
  if (finish == Finish::kStop && tool_calls() > 0) finish = Finish::kToolCalls;
  delta->finish = finish;
  finished_ = true;
}

void TextStream::Take(std::string_view text, ChoiceDelta* delta) {
  total_ += text.size();
  if (options_.logprobs) total_characters_ += base::CountCharacters(text);
  if (parser_.has_value()) {
    TakeParsed(parser_->Push(text), delta);
  } else {
    TakeContent(text);
  }
}

void TextStream::TakeParsed(chat::ParsedDelta&& parsed, ChoiceDelta* delta) {
  delta->reasoning += parsed.reasoning;
  TakeContent(parsed.content);
  if (match_.matched || parsed.tool_calls.empty()) return;
  // Content that may become a stop string ends where a call begins.
  matcher_ = StopMatcher(stop_);
  matcher_base_ = content_total_;
  TakeToolCalls(std::move(parsed.tool_calls), delta);
}

void TextStream::TakeContent(std::string_view text) {
  if (text.empty()) return;
  match_ = matcher_.Feed(text);
  match_.match_begin += matcher_base_;
  held_content_ += text;
  content_total_ += text.size();
}

void TextStream::TakeToolCalls(std::vector<chat::ToolCallDelta>&& calls, ChoiceDelta* delta) {
  for (chat::ToolCallDelta& call : calls) {
    if (call.name.empty() && !delta->tool_calls.empty() && delta->tool_calls.back().index == call.index) {
      delta->tool_calls.back().arguments += call.arguments;
      continue;
    }
    ToolDelta& tool = delta->tool_calls.emplace_back();
    tool.index = call.index;
    if (!call.name.empty()) tool.id = options_.tool_call_id_prefix + std::to_string(call.index);
    tool.name = std::move(call.name);
    tool.arguments = std::move(call.arguments);
  }
}

void TextStream::Release(size_t end, ChoiceDelta* delta) {
  while (!held_tokens_.empty() && held_tokens_.front().text_end <= total_ && held_tokens_.front().content_end <= end) {
    PopToken(delta);
  }
  if (end <= released_) return;
  delta->text.append(held_content_, 0, end - released_);
  held_content_.erase(0, end - released_);
  released_ = end;
}

void TextStream::PopToken(ChoiceDelta* delta) {
  ScoredToken& token = held_tokens_.front().token;
  if (token.reasoning) ++reasoning_tokens_;
  if (options_.token_ids) delta->token_ids.push_back(token.token_id);
  if (options_.logprobs) delta->logprobs.push_back(std::move(token));
  held_tokens_.pop_front();
}

}  // namespace hadal::service
