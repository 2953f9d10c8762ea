// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/pattern_atom.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8.h"

namespace hadal::grammar {
namespace {

constexpr char kEscapedInJson[] = "a quote, backslash or control character is escaped in JSON and cannot be matched";
constexpr char32_t kLast = 0x10FFFF;
constexpr int64_t kWideCharacters = 256;  // beyond ASCII

// Characters [first, last].
struct Range {
  char32_t first, last;
};

bool IsEscapedInJson(char32_t c) { return c < 0x20 || c == '"' || c == '\\'; }

// What \d, \w and \s stand for. In a JSON string \s is the compiler's.
std::vector<Range> Shorthand(char lower, bool json) {
  if (lower == 'd') return {{'0', '9'}};
  if (lower == 'w') return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  if (json) return {{0x09, 0x0D}, {' ', ' '}};
  return {{0x09, 0x0D},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}

// `ranges` in order and apart from each other.
std::vector<Range> Normalized(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::vector<Range> merged;
  for (const Range& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<Range> Complement(const std::vector<Range>& ranges) {
  std::vector<Range> others;
  char32_t next = 0;
  for (const Range& range : Normalized(ranges)) {
    if (range.first > next) others.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLast) others.push_back({next, kLast});
  return others;
}

// A character in ASCII that means itself, in a class and outside.
std::string Literal(char32_t c) {
  if (c >= 0x7F || c < 0x20) return absl::StrFormat("\\u{%x}", static_cast<uint32_t>(c));
  const char byte = static_cast<char>(c);
  return absl::ascii_ispunct(static_cast<unsigned char>(byte)) &&
                 std::string_view("^$.*+?()[]{}|/\\-").find(byte) != std::string_view::npos
             ? std::string{'\\', byte}
             : std::string(1, byte);
}

class AtomReader {
 public:
  AtomReader(std::string_view text, PatternText kind) : text_(text), json_(kind == PatternText::kJsonString) {}

  PatternAtom Read() {
    if (text_[0] == '[') {
      ReadClass();
    } else if (text_[0] == '.') {
      at_ = 1;
      atom_.compiled = ".";
      atom_.wide = true;
      if (!json_) WriteClass(Complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
    } else {
      const Unit unit = ReadUnit();
      if (unit.is_shorthand && !json_) {
        WriteClass(unit.ranges);
      } else if (unit.is_shorthand) {
        atom_.compiled = std::string(text_.substr(0, at_));
        atom_.wide = absl::ascii_isupper(static_cast<unsigned char>(text_[1]));
      } else {
        if (MustBeEscaped(unit.character)) atom_.problem = kEscapedInJson;
        atom_.compiled = Literal(unit.character);
      }
    }
    if (!problem_.empty()) atom_.problem = problem_;
    atom_.length = at_;
    return atom_;
  }

 private:
  // A character, or the characters of a shorthand such as \d.
  struct Unit {
    bool is_shorthand = false;
    char32_t character = 0;
    std::vector<Range> ranges;
  };

  bool MustBeEscaped(char32_t c) const { return json_ && IsEscapedInJson(c); }
  char Peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  Unit ReadUnit() {
    if (Peek() == '\\') return ReadEscape();
    int length = 0;
    const char32_t c = base::DecodeUtf8(text_.data() + at_, &length);
    at_ += length;
    return {.character = c};
  }

  Unit ReadEscape() {
    const char c = Peek(1);
    at_ += 2;
    if (at_ > text_.size()) return Fail("a backslash at the end");
    if (static_cast<unsigned char>(c) >= 0x80) return Fail("a backslash before a character that needs none");
    switch (c) {
      case 'd':
      case 'w':
      case 's':
        return {.is_shorthand = true, .ranges = Shorthand(c, json_)};
      case 'D':
      case 'W':
      case 'S':
        return {.is_shorthand = true,
                .ranges = Complement(Shorthand(absl::ascii_tolower(static_cast<unsigned char>(c)), json_))};
      case 'n':
        return {.character = '\n'};
      case 'r':
        return {.character = '\r'};
      case 't':
        return {.character = '\t'};
      case 'f':
        return {.character = '\f'};
      case 'v':
        return {.character = '\v'};
      case '0':
        if (absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) return Fail("octal escapes are not supported");
        return {.character = 0};
      case 'c':
        if (!absl::ascii_isalpha(static_cast<unsigned char>(Peek()))) return Fail("\\c without a letter");
        return {.character = static_cast<unsigned char>(text_[at_++]) % 32u};
      case 'x':
        return {.character = Hex(2)};
      case 'u':
        return {.character = Unicode()};
      default:
        if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
          return Fail(absl::StrCat("\\", std::string(1, c), " is not supported"));
        }
        return {.character = static_cast<unsigned char>(c)};
    }
  }

  Unit Fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    at_ = std::min(at_, text_.size());
    return {};
  }

  char32_t Hex(size_t digits) {
    char32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = Peek();
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
        Fail("\\x and \\u need two and four hexadecimal digits");
        return 0;
      }
      value = value * 16 + (absl::ascii_isdigit(static_cast<unsigned char>(c))
                                ? c - '0'
                                : absl::ascii_tolower(static_cast<unsigned char>(c)) - 'a' + 10);
      ++at_;
    }
    return value;
  }

  // What follows \u.
  char32_t Unicode() {
    char32_t value = 0;
    if (Peek() == '{') {
      const size_t end = text_.find('}', at_);
      const size_t digits = end == std::string_view::npos ? 0 : end - at_ - 1;
      if (digits < 1 || digits > 6) {
        Fail("\\u{...} needs one to six hexadecimal digits");
        return 0;
      }
      ++at_;
      value = Hex(digits);
      ++at_;
    } else {
      value = Hex(4);
      const bool high = value >= 0xD800 && value < 0xDC00;
      if (high && Peek() == '\\' && Peek(1) == 'u') {
        at_ += 2;
        const char32_t low = Hex(4);
        if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
      }
    }
    if (value > kLast || (value >= 0xD800 && value < 0xE000)) Fail("\\u names no character");
    return value;
  }

  void ReadClass() {
    at_ = 1;
    const bool negated = Peek() == '^';
    if (negated) ++at_;
    std::vector<Range> ranges;
    while (problem_.empty() && Peek() != ']') {
      if (at_ >= text_.size()) {
        Fail("a [ has no ]");
        return;
      }
      const Unit low = ReadUnit();
      if (low.is_shorthand) {
        ranges.insert(ranges.end(), low.ranges.begin(), low.ranges.end());
        continue;
      }
      Range range = {low.character, low.character};
      if (Peek() == '-' && Peek(1) != ']' && Peek(1) != '\0') {
        ++at_;
        const Unit high = ReadUnit();
        if (high.is_shorthand || high.character < low.character) {
          Fail("a range in a class has no order");
          return;
        }
        range.last = high.character;
      } else if (!negated && MustBeEscaped(low.character)) {
        Fail(kEscapedInJson);
      }
      ranges.push_back(range);
    }
    ++at_;
    if (!problem_.empty()) return;
    if (ranges.empty()) {
      Fail("an empty class");
      return;
    }
    WriteClass(negated ? Complement(ranges) : Normalized(ranges));
  }

  // Writes the class without what the text cannot hold: surrogates, and in JSON what is escaped.
  void WriteClass(const std::vector<Range>& ranges) {
    std::vector<Range> matched;
    const auto add = [&](char32_t first, char32_t last) {
      if (first <= last) matched.push_back({first, last});
    };
    const std::vector<Range> holes = json_ ? std::vector<Range>{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0xD800, 0xDFFF}}
                                           : std::vector<Range>{{0xD800, 0xDFFF}};
    for (const Range& range : ranges) {
      char32_t first = range.first;
      for (const Range& hole : holes) {
        if (hole.last < first || hole.first > range.last) continue;
        if (hole.first > first) add(first, hole.first - 1);
        first = hole.last + 1;
      }
      add(first, range.last);
    }
    if (matched.empty()) {
      Fail(kEscapedInJson);
      return;
    }
    // xgrammar takes a class that begins with an escaped ^ for a negated one, where the whole answer is the pattern.
    if (matched.front().first == '^') {
      const char32_t last = matched.front().last;
      matched.erase(matched.begin());
      if (last > '^') matched.insert(matched.begin(), {U'_', last});
      if (matched.empty()) {
        atom_.compiled = Literal('^');
        return;
      }
      matched.push_back({'^', '^'});
    }
    int64_t beyond_ascii = 0;
    atom_.compiled = "[";
    for (const Range& range : matched) {
      beyond_ascii += std::max<int64_t>(int64_t{range.last} - std::max<int64_t>(range.first, 0x80) + 1, 0);
      absl::StrAppend(&atom_.compiled, Literal(range.first));
      if (range.last > range.first) absl::StrAppend(&atom_.compiled, "-", Literal(range.last));
    }
    atom_.compiled += "]";
    atom_.wide = beyond_ascii > kWideCharacters;
  }

  const std::string_view text_;
  const bool json_;
  size_t at_ = 0;
  std::string problem_;
  PatternAtom atom_;
};

}  // namespace

PatternAtom ReadPatternAtom(std::string_view pattern, PatternText kind) { return AtomReader(pattern, kind).Read(); }

}  // namespace hadal::grammar
