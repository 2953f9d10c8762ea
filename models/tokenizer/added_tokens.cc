// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {
namespace {

// The character at text[at] is one that lstrip and rstrip take.
bool IsSpace(std::string_view text, size_t at, bool keeps_blanks, int* length) {
  const char32_t c = base::DecodeUtf8(text.data() + at, length);
  return (unicode::CharTable::Get()[c] & unicode::kSpace) != 0 && !(keeps_blanks && c == U' ');
}

size_t SpaceBegin(std::string_view text, bool keeps_blanks) {
  while (!text.empty()) {
    const size_t last = base::LastCharacter(text);
    int length = 0;
    if (!IsSpace(text, last, keeps_blanks, &length)) break;
    text = text.substr(0, last);
  }
  return text.size();
}

size_t SpaceEnd(std::string_view text, bool keeps_blanks) {
  size_t i = 0;
  for (int length = 0; i < text.size() && IsSpace(text, i, keeps_blanks, &length);) i += static_cast<size_t>(length);
  return i;
}

bool IsSingleWord(std::string_view text, size_t begin, size_t end) {
  int length = 0;
  if (begin > 0 &&
      unicode::IsWordCharacter(base::DecodeUtf8(text.data() + base::LastCharacter(text.substr(0, begin)), &length)))
    return false;
  return end == text.size() || !unicode::IsWordCharacter(base::DecodeUtf8(text.data() + end, &length));
}

}  // namespace

int32_t AddedTokenMatcher::Child(int32_t node, char byte) const {
  for (int32_t child = nodes_[node].child; child >= 0; child = nodes_[child].sibling) {
    if (nodes_[child].byte == byte) return child;
  }
  return -1;
}

void AddedTokenMatcher::Add(const AddedToken& token, std::string_view literal) {
  int32_t node = 0;
  for (const char byte : literal) {
    int32_t child = Child(node, byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({-1, -1, nodes_[node].child, byte});
      nodes_[node].child = child;
      if (node == 0) first_[static_cast<unsigned char>(byte)] = child;
    }
    node = child;
  }
  if (nodes_[node].token >= 0) return;  // two contents with one normal form: the first wins
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back({token.id, token.lstrip, token.rstrip, token.single_word});
}

int32_t AddedTokenMatcher::LongestAt(std::string_view text, size_t at, size_t* end) const {
  int32_t node = first_[static_cast<unsigned char>(text[at])];
  int32_t best = -1;
  for (size_t i = at + 1; node > 0; ++i) {
    if (nodes_[node].token >= 0) {
      best = nodes_[node].token;
      *end = i;
    }
    if (i == text.size()) break;
    node = Child(node, text[i]);
  }
  return best;
}

void AddedTokenMatcher::Split(std::string_view text, absl::FunctionRef<void(std::string_view)> text_part,
                              absl::FunctionRef<void(int32_t)> token) const {
  size_t text_begin = 0;
  size_t at = 0;
  while (at < text.size()) {
    if (first_[static_cast<unsigned char>(text[at])] == 0) {
      ++at;
      continue;
    }
    size_t end = 0;
    const int32_t found = LongestAt(text, at, &end);
    if (found < 0) {
      ++at;
      continue;
    }
    size_t begin = at;
    at = end;  // the characters of a token that is then refused are not looked at again
    const Token& t = tokens_[found];
    if (t.single_word && !IsSingleWord(text, begin, end)) continue;
    if (t.lstrip) begin = std::max(SpaceBegin(text.substr(0, begin), keeps_blanks_), text_begin);
    if (t.rstrip) end += SpaceEnd(text.substr(end), keeps_blanks_);
    // A token of spaces may start within those that the token before was widened over. The package tokenizers takes it
    // once more, drops it where lstrip leaves nothing of it, and crashes where lstrip leaves less than nothing.
    if (text_begin < begin) text_part(text.substr(text_begin, begin - text_begin));
    if (begin > end) continue;
    if (begin < end) token(t.id);
    text_begin = end;
  }
  if (text_begin < text.size()) text_part(text.substr(text_begin));
}

}  // namespace hadal::tokenizer
