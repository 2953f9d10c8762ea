// SPDX-License-Identifier: Apache-2.0
#include "base/json_fault.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/utf8.h"

namespace hadal::base {
namespace {

constexpr size_t kMaxShownBytes = 32;
constexpr size_t kEscapeBytes = 6;  // \uXXXX

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
// Bytes of which numbers, literals and what is taken for them consist.
bool IsWordByte(char c) { return IsDigit(c) || IsLetter(c) || c == '_' || c == '.' || c == '+' || c == '-'; }

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The code unit of the escape \uXXXX at the begin of `text`; -1 without one.
int32_t CodeUnit(std::string_view text) {
  if (text.size() < kEscapeBytes || text[0] != '\\' || text[1] != 'u') return -1;
  int32_t unit = 0;
  for (size_t i = 2; i < kEscapeBytes; ++i) {
    if (HexDigit(text[i]) < 0) return -1;
    unit = unit * 16 + HexDigit(text[i]);
  }
  return unit;
}
bool IsHigh(int32_t unit) { return unit >= 0xD800 && unit <= 0xDBFF; }
bool IsLow(int32_t unit) { return unit >= 0xDC00 && unit <= 0xDFFF; }

std::string Quote(std::string_view text) {
  std::string quoted = "`";
  for (const char c : text.substr(0, kMaxShownBytes)) quoted.push_back(c >= ' ' && c < 0x7F ? c : '?');
  return quoted + "`";
}

std::string HexByte(char c) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  return {'0', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
}

// Whether `word` is a number as JSON writes it: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
bool IsNumber(std::string_view word) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < word.size() && IsDigit(word[at])) ++at;
    return at - begin;
  };
  if (word.starts_with('-')) ++at;
  const bool zero = at < word.size() && word[at] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (at < word.size() && word[at] == '.') {
    ++at;
    if (digits() == 0) return false;
  }
  if (at < word.size() && (word[at] == 'e' || word[at] == 'E')) {
    ++at;
    if (at < word.size() && (word[at] == '+' || word[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == word.size();
}

// Walks over a text until it makes no sense.
class FaultFinder {
 public:
  explicit FaultFinder(std::string_view text) : text_(text) {}

  // What is wrong at at(); empty: nothing.
  std::string Find() {
    std::string fault;
    while (fault.empty()) {
      while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
      if (at_ == text_.size()) {
        return expected_ == Expected::kNothing ? "" : "the text ends where " + Wanted() + " is expected";
      }
      fault = Step();
    }
    return fault;
  }
  size_t at() const { return at_; }

 private:
  enum class Expected { kValue, kValueOrEnd, kKey, kKeyOrEnd, kColon, kCommaOrEnd, kNothing };

  std::string Step() {
    const char c = text_[at_];
    switch (expected_) {
      case Expected::kNothing:
        return Quote(text_.substr(at_, 1)) + " follows the end of the JSON text";
      case Expected::kColon:
        if (c != ':') return Unexpected();
        ++at_;
        expected_ = Expected::kValue;
        return "";
      case Expected::kCommaOrEnd:
        if (c == ',') {
          ++at_;
          expected_ = open_.back() == '{' ? Expected::kKey : Expected::kValue;
          return "";
        }
        return Close();
      case Expected::kKeyOrEnd:
        if (c == '}') return Close();
        [[fallthrough]];
      case Expected::kKey:
        if (c != '"') return Unexpected();
        expected_ = Expected::kColon;
        return String();
      case Expected::kValueOrEnd:
        if (c == ']') return Close();
        [[fallthrough]];
      case Expected::kValue:
        return Value();
    }
    return "";
  }

  std::string Value() {
    const char c = text_[at_];
    if (c == '{' || c == '[') {
      open_.push_back(c);
      expected_ = c == '{' ? Expected::kKeyOrEnd : Expected::kValueOrEnd;
      ++at_;
      return "";
    }
    if (c == '"') {
      EndValue();
      return String();
    }
    size_t end = at_;
    while (end < text_.size() && IsWordByte(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    if (word.empty()) return Unexpected();
    if (word != "true" && word != "false" && word != "null" && !IsNumber(word))
      return Quote(word) + " is no JSON value";
    at_ = end;
    EndValue();
    return "";
  }

  std::string String() {
    const size_t begin = at_;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return "";
      }
      if (static_cast<unsigned char>(c) < 0x20)
        return "the control character " + HexByte(c) + " in a string must be escaped";
      if (c != '\\') continue;
      if (CodeUnit(text_.substr(at_)) >= 0) {
        at_ += kEscapeBytes - 1;
      } else if (at_ + 1 < text_.size() &&
                 std::string_view("\"\\/bfnrt").find(text_[at_ + 1]) != std::string_view::npos) {
        ++at_;
      } else if (at_ + 1 < text_.size()) {
        return Quote(text_.substr(at_, text_[at_ + 1] == 'u' ? kEscapeBytes : 2)) + " is no escape of JSON";
      }
    }
    at_ = begin;
    return "a string has no closing quote";
  }

  std::string Close() {
    const char closer = open_.back() == '{' ? '}' : ']';
    if (text_[at_] != closer) return Unexpected();
    ++at_;
    open_.pop_back();
    EndValue();
    return "";
  }

  void EndValue() { expected_ = open_.empty() ? Expected::kNothing : Expected::kCommaOrEnd; }

  std::string Unexpected() const { return "expected " + Wanted() + ", found " + Quote(text_.substr(at_, 1)); }

  std::string Wanted() const {
    switch (expected_) {
      case Expected::kValue:
        return "a value";
      case Expected::kValueOrEnd:
        return "a value or `]`";
      case Expected::kKey:
        return "a name in double quotes";
      case Expected::kKeyOrEnd:
        return "a name in double quotes or `}`";
      case Expected::kColon:
        return "`:`";
      case Expected::kCommaOrEnd:
        return open_.back() == '{' ? "`,` or `}`" : "`,` or `]`";
      case Expected::kNothing:
        break;
    }
    return "nothing";
  }

  const std::string_view text_;
  size_t at_ = 0;
  Expected expected_ = Expected::kValue;
  std::vector<char> open_;  // the brackets that are open
};

}  // namespace

std::string DescribeJsonFault(std::string_view json) {
  FaultFinder finder(json);
  std::string fault = finder.Find();
  size_t at = finder.at();
  if (const size_t invalid = FindInvalidUtf8(json); invalid < (fault.empty() ? json.size() : at)) {
    fault = "the byte " + HexByte(json[invalid]) + " is not valid UTF-8";
    at = invalid;
  }
  if (fault.empty()) return fault;
  const std::string_view before = json.substr(0, at);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_begin = before.find_last_of('\n') + 1;  // npos + 1 is 0
  return "line " + std::to_string(line) + ", column " + std::to_string(at - line_begin + 1) + ": " + fault;
}

std::string ReplaceLoneSurrogates(std::string_view json) {
  std::string out(json);
  for (size_t at = out.find('\\'); at != std::string::npos && at + 1 < out.size(); at = out.find('\\', at)) {
    const std::string_view rest = std::string_view(out).substr(at);
    const int32_t unit = CodeUnit(rest);
    if (unit < 0) {
      at += 2;
    } else if (IsHigh(unit) && IsLow(CodeUnit(rest.substr(kEscapeBytes)))) {
      at += 2 * kEscapeBytes;
    } else {
      if (IsHigh(unit) || IsLow(unit)) out.replace(at, kEscapeBytes, "\\ufffd");
      at += kEscapeBytes;
    }
  }
  return out;
}

}  // namespace hadal::base
