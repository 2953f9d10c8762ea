// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/lexer.h"

#include <algorithm>
#include <utility>

#include "models/concat.h"
#include "models/status_macros.h"

namespace hadal::jinja {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (static_cast<unsigned char>(c) & 0x80) != 0;
}

// One \n for every kind of line end, and without the one at the very end.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) HADAL_RETURN_IF_ERROR(NextTag());
    Emit(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(models::Concat("line ", line_, ": ", what));
  }
  void Emit(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  // Moves on and counts lines.
  void Skip(size_t bytes) {
    for (size_t end = at_ + bytes; at_ < end; ++at_) line_ += source_[at_] == '\n' ? 1 : 0;
    line_starts_ = at_ > 0 && source_[at_ - 1] == '\n';
  }
  void SkipSpaces() {
    size_t n = 0;
    while (n < Rest().size() && IsSpace(Rest()[n])) ++n;
    Skip(n);
  }

  // The text up to a tag that begins at `begin`, with what its sign and lstrip_blocks take away.
  void EmitTextBefore(size_t begin, char sign, bool variable) {
    std::string_view text = std::string_view(source_).substr(at_, begin - at_);
    if (sign == '-') {
      while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
    } else if (sign != '+' && !variable) {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == text.npos ? 0 : newline + 1;
      const std::string_view line = text.substr(start);
      if ((start > 0 || line_starts_) && std::all_of(line.begin(), line.end(), IsSpace)) text = text.substr(0, start);
    }
    if (!text.empty()) Emit(Token::Kind::kText, std::string(text));
  }

  // After a tag's end: the spaces that "-" takes, or the one newline of trim_blocks.
  void TrimAfter(char sign, bool trims_newline) {
    if (sign == '-') return SkipSpaces();
    if (sign != '+' && trims_newline && Rest().starts_with('\n')) Skip(1);
  }

  absl::Status NextTag() {
    size_t begin = at_;
    for (;; ++begin) {
      begin = source_.find('{', begin);
      if (begin == source_.npos || begin + 1 == source_.size()) {
        Emit(Token::Kind::kText, std::string(Rest()));
        at_ = source_.size();
        return absl::OkStatus();
      }
      const char next = source_[begin + 1];
      if (next == '%' || next == '{' || next == '#') break;
    }
    const char type = source_[begin + 1];
    char sign = begin + 2 < source_.size() ? source_[begin + 2] : ' ';
    if (sign != '-' && sign != '+') sign = ' ';
    EmitTextBefore(begin, sign, type == '{');
    Skip(begin - at_ + (sign == ' ' ? 2 : 3));
    if (type == '#') return Comment();
    if (type == '%') {
      size_t end = 0;
      char end_sign = ' ';
      if (MatchTag(Rest(), "raw", &end, &end_sign)) {
        Skip(end);
        if (end_sign == '-') SkipSpaces();
        return Raw();
      }
    }
    Emit(type == '%' ? Token::Kind::kBlockBegin : Token::Kind::kVariableBegin, "");
    return Tag(type);
  }

  // Whether `rest` is `word` and the end of a block; `end` is where, `sign` the one before the end.
  static bool MatchTag(std::string_view rest, std::string_view word, size_t* end, char* sign) {
    size_t i = 0;
    const auto spaces = [&] {
      while (i < rest.size() && IsSpace(rest[i])) ++i;
    };
    spaces();
    if (rest.substr(i, word.size()) != word) return false;
    i += word.size();
    spaces();
    if (i < rest.size() && (rest[i] == '-' || rest[i] == '+')) *sign = rest[i++];
    *end = i + 2;
    return rest.substr(i, 2) == "%}";
  }

  absl::Status Comment() {
    const size_t end = source_.find("#}", at_);
    if (end == source_.npos) return Error("a comment is not closed");
    const char sign = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : ' ';
    Skip(end + 2 - at_);
    TrimAfter(sign, true);
    return absl::OkStatus();
  }

  absl::Status Raw() {
    for (size_t begin = source_.find("{%", at_); begin != source_.npos; begin = source_.find("{%", begin + 1)) {
      const char first = begin + 2 < source_.size() ? source_[begin + 2] : ' ';
      const bool has_sign = first == '-' || first == '+';
      const size_t word = begin + (has_sign ? 3 : 2);
      size_t end = 0;
      char end_sign = ' ';
      if (!MatchTag(std::string_view(source_).substr(word), "endraw", &end, &end_sign)) continue;
      EmitTextBefore(begin, has_sign ? first : ' ', false);
      Skip(word + end - at_);
      TrimAfter(end_sign, true);
      return absl::OkStatus();
    }
    return Error("a raw block is not closed");
  }

  // The expression of a tag, up to and with its end.
  absl::Status Tag(char type) {
    const std::string_view closer = type == '%' ? "%}" : "}}";
    std::string open;  // the brackets that wait for their ends
    const int line = line_;
    for (;;) {
      SkipSpaces();
      if (at_ >= source_.size()) {
        line_ = line;
        return Error(models::Concat("a tag is not closed with ", closer));
      }
      const std::string_view rest = Rest();
      if (open.empty()) {
        const bool has_sign = (rest[0] == '-' || (rest[0] == '+' && type == '%')) && rest.substr(1, 2) == closer;
        if (has_sign || rest.starts_with(closer)) {
          const char sign = has_sign ? rest[0] : ' ';
          Emit(type == '%' ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd, "");
          Skip(has_sign ? 3 : 2);
          TrimAfter(sign, type == '%');
          return absl::OkStatus();
        }
      }
      HADAL_RETURN_IF_ERROR(ExpressionToken(&open));
    }
  }

  absl::Status ExpressionToken(std::string* open) {
    const std::string_view rest = Rest();
    const char c = rest[0];
    if (IsNameStart(c)) {
      size_t n = 1;
      while (n < rest.size() && (IsNameStart(rest[n]) || IsDigit(rest[n]))) ++n;
      Emit(Token::Kind::kName, std::string(rest.substr(0, n)));
      Skip(n);
      return absl::OkStatus();
    }
    if (IsDigit(c)) return Number();
    if (c == '"' || c == '\'') return String(c);
    static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view op : kOperators) {
      if (!rest.starts_with(op)) continue;
      if (op == "(" || op == "[" || op == "{") open->push_back(op == "(" ? ')' : op == "[" ? ']' : '}');
      if (op == ")" || op == "]" || op == "}") {
        if (open->empty() || open->back() != op[0]) return Error(models::Concat("unexpected '", op, "'"));
        open->pop_back();
      }
      Emit(Token::Kind::kOperator, std::string(op));
      Skip(op.size());
      return absl::OkStatus();
    }
    return Error(models::Concat("unexpected character '", rest.substr(0, 1), "'"));
  }

  absl::Status Number() {
    const std::string_view rest = Rest();
    const auto digits = [&](size_t i) {
      while (i < rest.size() && (IsDigit(rest[i]) || (rest[i] == '_' && i + 1 < rest.size() && IsDigit(rest[i + 1]))))
        ++i;
      return i;
    };
    size_t n = 0;
    bool is_float = false;
    if (rest.size() > 2 && rest[0] == '0' && std::string_view("xXoObB").find(rest[1]) != std::string_view::npos) {
      n = 2;
      while (n < rest.size() && (IsDigit(rest[n]) || rest[n] == '_' || (rest[n] >= 'a' && rest[n] <= 'f') ||
                                 (rest[n] >= 'A' && rest[n] <= 'F'))) {
        ++n;
      }
    } else {
      n = digits(0);
      if (n + 1 < rest.size() && rest[n] == '.' && IsDigit(rest[n + 1])) {
        is_float = true;
        n = digits(n + 1);
      }
      if (n < rest.size() && (rest[n] == 'e' || rest[n] == 'E')) {
        const size_t sign = n + 1 < rest.size() && (rest[n + 1] == '+' || rest[n + 1] == '-') ? 1 : 0;
        if (n + 1 + sign < rest.size() && IsDigit(rest[n + 1 + sign])) {
          is_float = true;
          n = digits(n + 1 + sign);
        }
      }
    }
    std::string text(rest.substr(0, n));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    Emit(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, std::move(text));
    Skip(n);
    return absl::OkStatus();
  }

  absl::Status String(char quote) {
    const std::string_view rest = Rest();
    size_t n = 1;
    while (n < rest.size() && rest[n] != quote) n += rest[n] == '\\' ? 2 : 1;
    if (n >= rest.size()) return Error("a string is not closed");
    absl::StatusOr<std::string> text = DecodeStringLiteral(rest.substr(1, n - 1));
    if (!text.ok()) return Error(std::string(text.status().message()));
    Emit(Token::Kind::kString, *std::move(text));
    Skip(n + 1);
    return absl::OkStatus();
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(NormalizeNewlines(source)).Run(); }

}  // namespace hadal::jinja
