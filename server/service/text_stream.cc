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

TextStream::TextStream(const tokenizer::Tokenizer& tokenizer, std::shared_ptr<const StopStrings> stop, Options options)
    : tokenizer_(&tokenizer),
      options_(std::move(options)),
      detokenizer_(tokenizer, /*skip_special_tokens=*/false),
      matcher_(std::move(stop)) {
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
  held.text_begin = total_;
  textless_tokens_ = skipped || tokenizer_->TokenBytes(id).empty() ? textless_tokens_ + 1 : 0;
  if (!skipped) {
    const std::string text = detokenizer_.Append(id);
    const bool matched = Take(text);
    // Bytes of an unfinished character come with a later token's text: the token ends one byte behind what is known.
    held.text_end = total_ + (detokenizer_.pending_bytes() > 0 ? 1 : 0);
    held_tokens_.push_back(std::move(held));
    if (matched) return true;
  } else {
    held.text_end = total_;
    held_tokens_.push_back(std::move(held));
  }
  Release(total_ - matcher_.held(), delta);
  // Their text waits on, but nothing says that it goes on: the tokens would wait until the end.
  if (textless_tokens_ > kMaxTextlessWait) {
    while (!held_tokens_.empty()) PopToken(in_reasoning(), delta);
  }
  return false;
}

bool TextStream::Take(std::string_view text) {
  match_ = matcher_.Feed(text);
  held_text_ += text;
  total_ += text.size();
  if (options_.logprobs) total_characters_ += base::CountCharacters(text);
  return match_.matched;
}

void TextStream::End(Finish finish, int32_t stop_token, ChoiceDelta* delta) {
  if (finished_) return;
  if (!match_.matched) Take(detokenizer_.Flush());
  const auto pop_rest = [&](size_t before) {
    while (!held_tokens_.empty() && held_tokens_.front().text_begin < before) PopToken(in_reasoning(), delta);
  };
  if (match_.matched) {
    finish = Finish::kStop;
    Release(match_.match_begin, delta);
    // A token that begins before the match and ends in it belongs to the text; one that lies in or behind it does not.
    pop_rest(match_.match_begin);
    held_tokens_.clear();
  } else {
    Release(total_, delta);
    pop_rest(total_ + 1);
    if (stop_token >= 0) {
      ++tokens_;
      if (options_.token_ids) delta->token_ids.push_back(stop_token);
    }
  }
  if (parser_.has_value()) {
    Parse(parser_->Finish(), delta);
    if (finish == Finish::kStop && parser_->tool_call_count() > 0) finish = Finish::kToolCalls;
  }
  delta->finish = finish;
  finished_ = true;
}

void TextStream::Release(size_t end, ChoiceDelta* delta) {
  while (!held_tokens_.empty() && held_tokens_.front().text_end <= end) {
    const bool reasoning_before = in_reasoning();
    EmitUpTo(held_tokens_.front().text_end, delta);
    PopToken(reasoning_before || in_reasoning(), delta);
  }
  EmitUpTo(end, delta);
  if (emitted_ > 0) {
    held_text_.erase(0, emitted_);
    emitted_ = 0;
  }
}

void TextStream::EmitUpTo(size_t end, ChoiceDelta* delta) {
  if (end <= released_) return;
  const std::string_view text = std::string_view(held_text_).substr(emitted_, end - released_);
  if (parser_.has_value()) {
    Parse(parser_->Push(text), delta);
  } else {
    delta->text += text;
  }
  emitted_ += text.size();
  released_ = end;
}

void TextStream::Parse(chat::ParsedDelta&& parsed, ChoiceDelta* delta) {
  delta->text += parsed.content;
  delta->reasoning += parsed.reasoning;
  for (chat::ToolCallDelta& call : parsed.tool_calls) {
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

void TextStream::PopToken(bool reasoning, ChoiceDelta* delta) {
  ScoredToken& token = held_tokens_.front().token;
  token.reasoning = reasoning;
  if (token.reasoning) ++reasoning_tokens_;
  if (options_.token_ids) delta->token_ids.push_back(token.token_id);
  if (options_.logprobs) delta->logprobs.push_back(std::move(token));
  held_tokens_.pop_front();
}

}  // namespace hadal::service
