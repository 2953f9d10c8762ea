// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/grammar_matcher.h"

#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"

namespace hadal::grammar {
namespace {

// Between two tokens of JSON stand a blank or two, or one line break and its indentation. A model that goes beyond
// these is led back, or the answer would end in blanks at its length limit; the token that goes beyond may stand.
constexpr int kMaxBlanks = 2;
constexpr int kMaxIndentation = 32;
constexpr int kMaxLineBreaks = 1;

}  // namespace

GrammarMatcher::GrammarMatcher(std::shared_ptr<const VocabularyInfo> vocabulary,
                               const xgrammar::CompiledGrammar& grammar, std::shared_ptr<const CompiledSlots> slots,
                               Reasoning reasoning, WhiteSpace white_space)
    : vocabulary_(std::move(vocabulary)),
      compiled_slots_(std::move(slots)),
      matcher_(grammar),
      phase_(reasoning == Reasoning::kOpen      ? Phase::kReasoning
             : reasoning == Reasoning::kMayOpen ? Phase::kMayOpen
                                                : Phase::kAnswer),
      white_space_(white_space) {
  if (compiled_slots_ != nullptr) slots_.emplace(vocabulary_.get(), compiled_slots_.get(), &matcher_);
}

// The step before may still hold one of them.
std::shared_ptr<models::TokenMask> GrammarMatcher::FreeBuffer() {
  for (auto& buffer : buffers_) {
    if (buffer == nullptr) buffer = std::make_shared<models::TokenMask>((vocabulary_->vocab_size + 31) / 32);
    if (buffer.use_count() == 1) return buffer;
  }
  return buffers_[0] = std::make_shared<models::TokenMask>((vocabulary_->vocab_size + 31) / 32);
}

absl::StatusOr<std::shared_ptr<const models::TokenMask>> GrammarMatcher::Mask() {
  if (phase_ == Phase::kReasoning) {
    return std::shared_ptr<const models::TokenMask>(vocabulary_, &vocabulary_->not_ending);
  }
  std::shared_ptr<models::TokenMask> mask = FreeBuffer();
  try {
    FillAnswer(mask.get());
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("the grammar cannot go on: ", error.what()));
  }
  if (phase_ == Phase::kMayOpen) Put(mask.get(), *vocabulary_->think_begin);
  if (white_space_ != WhiteSpace::kFree && run_.IsLong()) CutWhiteSpace(mask.get());
  if (std::all_of(mask->begin(), mask->end(), [](uint32_t word) { return word == 0; })) {
    return absl::InternalError("the grammar leaves no token of the vocabulary");
  }
  return std::shared_ptr<const models::TokenMask>(std::move(mask));
}

void GrammarMatcher::FillAnswer(models::TokenMask* mask) {
  if (slots_.has_value() && slots_->in_string()) return slots_->Fill(mask);
  FillMask(&matcher_, mask);
  if (slots_.has_value()) slots_->AddOpeners(mask);
}

// A JSON string cannot hold a line break, so where one may come the white space is between values.
void GrammarMatcher::CutWhiteSpace(models::TokenMask* mask) const {
  if (!vocabulary_->newline.has_value() || !Holds(*mask, *vocabulary_->newline)) return;
  const models::TokenMask& white = vocabulary_->leading_white_space;
  uint32_t rest = 0;
  for (size_t i = 0; i < mask->size(); ++i) rest |= (*mask)[i] & ~white[i];
  if (rest == 0) return;
  for (size_t i = 0; i < mask->size(); ++i) (*mask)[i] &= ~white[i];
}

bool GrammarMatcher::WhiteSpaceRun::IsLong() const {
  return line_breaks > kMaxLineBreaks || blanks >= (line_breaks > 0 ? kMaxIndentation : kMaxBlanks);
}

void GrammarMatcher::WhiteSpaceRun::Append(std::string_view text) {
  for (const char c : text) {
    if (c == '\n') {
      ++line_breaks;
      blanks = 0;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      ++blanks;
    } else {
      *this = {};
    }
  }
}

void GrammarMatcher::Follow(std::string_view text) {
  run_.Append(text);
  if (white_space_ != WhiteSpace::kFreeAfterMarker) return;
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return;
  white_space_ = text[begin] == '<' ? WhiteSpace::kFree : WhiteSpace::kLimited;
}

absl::Status GrammarMatcher::Accept(int32_t token) {
  if (phase_ != Phase::kAnswer) {
    if (phase_ == Phase::kReasoning) {
      if (token == vocabulary_->think_end) phase_ = Phase::kAnswer;
      if (token < 0 || token >= vocabulary_->vocab_size || !Holds(vocabulary_->not_ending, token)) {
        return absl::InvalidArgumentError(absl::StrCat("token ", token, " cannot stand in the reasoning"));
      }
      return absl::OkStatus();
    }
    const bool opens = token == vocabulary_->think_begin;
    phase_ = opens ? Phase::kReasoning : Phase::kAnswer;
    if (opens) return absl::OkStatus();
  }
  try {
    if (!(slots_.has_value() ? slots_->Accept(token) : matcher_.AcceptToken(token))) {
      return absl::InvalidArgumentError(absl::StrCat("token ", token, " does not fit the grammar"));
    }
    ended_ = matcher_.IsTerminated();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("the grammar cannot go on: ", error.what()));
  }
  if (white_space_ != WhiteSpace::kFree && !ended_) Follow(vocabulary_->tokens.GetDecodedVocab()[token]);
  return absl::OkStatus();
}

}  // namespace hadal::grammar
