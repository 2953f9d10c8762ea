// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/known_patterns.h"

#include <string>
#include <utility>

#include "base/utf8.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {

const std::string_view kDeepSeekV3Pattern =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const std::string_view kQwen2Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)"
    "|\\s+";
const std::string_view kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)|\\s+";
const std::string_view kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const std::string_view kTrailingSpacePattern = "\\s+$";

namespace {

using unicode::kLetter;
using unicode::kMark;
using unicode::kNewline;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;
using unicode::kSymbol;

// A text with the class bits of the character under a pointer. At the end of the text no bit is set and the length is
// 0.
class Cursor {
 public:
  Cursor(const char* at, const char* end) : table_(&unicode::CharTable::Get()), at_(at), end_(end) { Load(); }

  bool Has(uint8_t bits) const { return (bits_ & bits) != 0; }
  bool AtEnd() const { return at_ == end_; }
  char Byte() const { return at_ == end_ ? '\0' : *at_; }
  const char* at() const { return at_; }
  void Next() {
    at_ += length_;
    Load();
  }
  void SkipWhile(uint8_t bits) {
    while (Has(bits)) Next();
  }

 private:
  void Load() {
    if (at_ == end_) {
      bits_ = 0;
      length_ = 0;
      return;
    }
    bits_ = (*table_)[base::DecodeUtf8(at_, &length_)];
  }

  const unicode::CharTable* table_;
  const char* at_;
  const char* end_;
  uint8_t bits_ = 0;
  int length_ = 0;
};

// The run of spaces at the cursor as `\s*[\r\n]+|\s+(?!\S)|\s+` cuts it: up to the last newline of the run; without
// one, all of it at the end of the text, and all but the last character (unless it is the only one) before anything
// else.
const char* SpaceRunEnd(Cursor cursor) {
  const char* begin = cursor.at();
  const char* after_newline = nullptr;
  const char* last = begin;
  while (cursor.Has(kSpace)) {
    const bool newline = cursor.Has(kNewline);
    last = cursor.at();
    cursor.Next();
    if (newline) after_newline = cursor.at();
  }
  if (after_newline != nullptr) return after_newline;
  return cursor.AtEnd() || last == begin ? cursor.at() : last;
}

// `\s+(?!\S)|\s+`.
const char* PlainSpaceRunEnd(Cursor cursor) {
  const char* begin = cursor.at();
  const char* last = begin;
  while (cursor.Has(kSpace)) {
    last = cursor.at();
    cursor.Next();
  }
  return cursor.AtEnd() || last == begin ? cursor.at() : last;
}

bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsAsciiPunctuation(char c) { return c > ' ' && c < 0x7F && !IsAsciiLetter(c) && !(c >= '0' && c <= '9'); }

// End of a contraction ('s 't 're 've 'm 'll 'd) at `p`, which holds an apostrophe, or null.
// With the case ignored, U+017F (long s) is an s too.
template <bool kIgnoreCase>
const char* ContractionEnd(const char* p, const char* end) {
  const auto at = [&](int i) {
    if (end - p <= i) return '\0';
    return kIgnoreCase && p[i] >= 'A' && p[i] <= 'Z' ? static_cast<char>(p[i] | 0x20) : p[i];
  };
  const char first = at(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
  if ((first == 'r' || first == 'v') && at(2) == 'e') return p + 3;
  if (first == 'l' && at(2) == 'l') return p + 3;
  if (kIgnoreCase && first == '\xC5' && at(2) == '\xBF') return p + 3;
  return nullptr;
}

// A rule returns the end of the match that starts at `p`, or null.
struct DeepSeekV3Rule {
  static const char* MatchAt(const char* p, const char* end) {
    if (IsAsciiPunctuation(*p) && end - p > 1 && IsAsciiLetter(p[1])) {
      p += 2;
      while (p < end && IsAsciiLetter(*p)) ++p;
      return p;
    }
    Cursor cursor(p, end);
    if (cursor.Has(kLetter | kMark)) {
      cursor.SkipWhile(kLetter | kMark);
      return cursor.at();
    }
    if (cursor.Has(kPunctuation | kSymbol)) return SymbolRunEnd(cursor);
    Cursor next = cursor;
    next.Next();
    if (next.Has(kLetter | kMark) && !cursor.Has(kNewline)) {
      next.SkipWhile(kLetter | kMark);
      return next.at();
    }
    if (*p == ' ' && next.Has(kPunctuation | kSymbol)) return SymbolRunEnd(next);
    return cursor.Has(kSpace) ? SpaceRunEnd(cursor) : nullptr;
  }

  static const char* SymbolRunEnd(Cursor cursor) {
    cursor.SkipWhile(kPunctuation | kSymbol);
    cursor.SkipWhile(kNewline);
    return cursor.at();
  }
};

template <int kMaxDigits>
struct QwenLlamaRule {
  static const char* MatchAt(const char* p, const char* end) {
    if (*p == '\'') {
      if (const char* contraction = ContractionEnd<true>(p, end)) return contraction;
    }
    Cursor cursor(p, end);
    if (cursor.Has(kLetter)) {
      cursor.SkipWhile(kLetter);
      return cursor.at();
    }
    if (cursor.Has(kNumber)) {
      for (int i = 0; i < kMaxDigits && cursor.Has(kNumber); ++i) cursor.Next();
      return cursor.at();
    }
    Cursor next = cursor;
    next.Next();
    if (next.Has(kLetter) && !cursor.Has(kNewline)) {
      next.SkipWhile(kLetter);
      return next.at();
    }
    if (!cursor.Has(kSpace)) return SymbolRunEnd(cursor);
    if (*p == ' ' && !next.AtEnd() && !next.Has(kSpace | kLetter | kNumber)) return SymbolRunEnd(next);
    return SpaceRunEnd(cursor);
  }

  static const char* SymbolRunEnd(Cursor cursor) {
    while (!cursor.AtEnd() && !cursor.Has(kSpace | kLetter | kNumber)) cursor.Next();
    cursor.SkipWhile(kNewline);
    return cursor.at();
  }
};

struct Gpt2Rule {
  static const char* MatchAt(const char* p, const char* end) {
    if (*p == '\'') {
      if (const char* contraction = ContractionEnd<false>(p, end)) return contraction;
    }
    Cursor cursor(p, end);
    Cursor body = cursor;
    if (*p == ' ') body.Next();
    if (body.Has(kLetter)) {
      body.SkipWhile(kLetter);
      return body.at();
    }
    if (body.Has(kNumber)) {
      body.SkipWhile(kNumber);
      return body.at();
    }
    if (!body.AtEnd() && !body.Has(kSpace)) {
      while (!body.AtEnd() && !body.Has(kSpace | kLetter | kNumber)) body.Next();
      return body.at();
    }
    return PlainSpaceRunEnd(cursor);
  }
};

template <typename Rule>
class RuleMatcher final : public Matcher {
 public:
  absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const override {
    const char* begin = text.data();
    const char* end = begin + text.size();
    for (const char* p = begin; p < end;) {
      const char* match_end = Rule::MatchAt(p, end);
      if (match_end == nullptr) {
        p += base::Utf8Length(static_cast<unsigned char>(*p));
        continue;
      }
      matches->push_back({static_cast<uint32_t>(p - begin), static_cast<uint32_t>(match_end - begin)});
      p = match_end;
    }
    return absl::OkStatus();
  }
};

// `\s+$`, where $ stands before every newline and at the end: of a run of spaces, what precedes its last newline, or
// all of it at the end of the text. The search goes on after that newline.
class TrailingSpaceMatcher final : public Matcher {
 public:
  absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const override {
    const char* begin = text.data();
    Cursor cursor(begin, begin + text.size());
    while (!cursor.AtEnd()) {
      if (!cursor.Has(kSpace)) {
        cursor.Next();
        continue;
      }
      const char* run = cursor.at();
      const char* last_newline = nullptr;
      while (cursor.Has(kSpace)) {
        if (cursor.Byte() == '\n') last_newline = cursor.at();
        cursor.Next();
      }
      const char* match_end = cursor.AtEnd() ? cursor.at() : last_newline;
      if (match_end == nullptr || match_end == run) continue;
      matches->push_back({static_cast<uint32_t>(run - begin), static_cast<uint32_t>(match_end - begin)});
    }
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Matcher> MakeKnownPatternMatcher(std::string_view written) {
  // Some files hold the line breaks themselves, others their escapes.
  std::string pattern;
  for (const char c : written) pattern.append(c == '\r' ? "\\r" : c == '\n' ? "\\n" : std::string_view(&c, 1));
  if (pattern == kDeepSeekV3Pattern) return std::make_unique<RuleMatcher<DeepSeekV3Rule>>();
  if (pattern == kQwen2Pattern) return std::make_unique<RuleMatcher<QwenLlamaRule<1>>>();
  if (pattern == kLlama3Pattern) return std::make_unique<RuleMatcher<QwenLlamaRule<3>>>();
  if (pattern == kGpt2Pattern) return std::make_unique<RuleMatcher<Gpt2Rule>>();
  if (pattern == kTrailingSpacePattern) return std::make_unique<TrailingSpaceMatcher>();
  return nullptr;
}

}  // namespace hadal::tokenizer
