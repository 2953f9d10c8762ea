// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"
#include "models/concat.h"
#include "models/jinja/lexer.h"

namespace hadal::jinja {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The letter after a backslash that stands for one control character; 0 for others.
char Control(char letter) {
  switch (letter) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return letter;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<std::string> DecodeStringLiteral(std::string_view body) {
  std::string out;
  out.reserve(body.size());
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\' || i + 1 == body.size()) {
      out.push_back(body[i]);
      continue;
    }
    const char letter = body[++i];
    if (const char control = Control(letter); control != 0) {
      out.push_back(control);
    } else if (letter == '\n') {
      continue;  // a line that goes on
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
      char32_t code = 0;
      for (size_t n = 0; n < digits; ++n) {
        const int digit = ++i < body.size() ? HexDigit(body[i]) : -1;
        if (digit < 0)
          return absl::InvalidArgumentError(
              models::Concat("\\", body.substr(i - n - 1, 1), " needs ", digits, " hexadecimal digits"));
        code = code << 4 | static_cast<char32_t>(digit);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return absl::InvalidArgumentError("an escape in a string names no character");
      }
      base::AppendUtf8(code, &out);
    } else if (letter >= '0' && letter <= '7') {
      char32_t code = 0;
      size_t n = 0;
      for (; n < 3 && i + n < body.size() && body[i + n] >= '0' && body[i + n] <= '7'; ++n) {
        code = code * 8 + static_cast<char32_t>(body[i + n] - '0');
      }
      i += n - 1;
      base::AppendUtf8(code, &out);
    } else if (letter == 'N') {
      return absl::InvalidArgumentError("\\N{...} is not supported in a string; use \\u");
    } else {
      out.push_back('\\');  // Python keeps what it does not know
      out.push_back(letter);
    }
  }
  return out;
}

}  // namespace hadal::jinja
