// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/request_model.h"

#include <cstddef>

#include "server/base/json_string.h"

namespace hadal::upstream {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kKey = "model";

// Walks over JSON without reading it. Positions are npos once the text has ended too early.
class Scanner {
 public:
  static constexpr size_t npos = std::string_view::npos;

  explicit Scanner(std::string_view text) : text_(text) {}

  size_t SkipSpace(size_t at) const { return at == npos ? npos : text_.find_first_not_of(kSpace, at); }
  char At(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }

  // Behind the string whose quote is at `at`.
  size_t SkipString(size_t at) const {
    if (At(at) != '"') return npos;
    for (++at; at < text_.size(); ++at) {
      if (text_[at] == '"') return at + 1;
      if (text_[at] == '\\') ++at;
    }
    return npos;
  }

  // Behind the value that begins at `at`. No recursion: a body may be nested as deeply as it likes.
  size_t SkipValue(size_t at) const {
    size_t depth = 0;
    while (at < text_.size()) {
      const char c = text_[at];
      if (c == '"') {
        at = SkipString(at);
        if (at == npos) return npos;
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at;
      } else if (c == '}' || c == ']') {
        if (depth == 0) return at;
        --depth;
        ++at;
      } else if (depth == 0 && c == ',') {
        return at;
      } else {
        ++at;
        continue;
      }
      if (depth == 0) return at;
    }
    return npos;
  }

 private:
  const std::string_view text_;
};

// Whether a key, without its quotes, is "model"; its letters may be escaped.
bool IsModelKey(std::string_view key) {
  std::string plain;
  for (size_t i = 0; i < key.size(); ++i) {
    if (key[i] == '\\' && key.substr(i + 1, 3) == "u00" && i + 5 < key.size()) {
      plain.push_back(static_cast<char>(std::stoi("0" + std::string(key.substr(i + 4, 2)), nullptr, 16)));
      i += 5;
    } else {
      plain.push_back(key[i]);
    }
    if (plain.size() > kKey.size()) return false;
  }
  return plain == kKey;
}

}  // namespace

std::optional<std::string> WithModel(std::string_view body, std::string_view model) {
  const Scanner scanner(body);
  size_t at = scanner.SkipSpace(0);
  if (at == Scanner::npos || scanner.At(at) != '{') return std::nullopt;
  std::string out;
  size_t copied = 0;
  const size_t inside = ++at;
  bool found = false;
  at = scanner.SkipSpace(at);
  const bool empty = scanner.At(at) == '}';
  while (scanner.At(at) != '}') {
    const size_t key_end = scanner.SkipString(at);
    if (key_end == Scanner::npos) return std::nullopt;
    const std::string_view key = body.substr(at + 1, key_end - at - 2);
    at = scanner.SkipSpace(key_end);
    if (scanner.At(at) != ':') return std::nullopt;
    const size_t value = scanner.SkipSpace(at + 1);
    at = value == Scanner::npos ? value : scanner.SkipValue(value);
    if (at == Scanner::npos || at == value) return std::nullopt;
    if (IsModelKey(key)) {
      found = true;
      out.append(body.substr(copied, value - copied));
      base::AppendJsonQuoted(model, &out);
      copied = at;
    }
    at = scanner.SkipSpace(at);
    if (scanner.At(at) != ',') continue;
    at = scanner.SkipSpace(at + 1);
    if (scanner.At(at) == '}') return std::nullopt;
  }
  if (!found) {
    out.append(body.substr(0, inside)).append("\"model\":");
    base::AppendJsonQuoted(model, &out);
    if (!empty) out.push_back(',');
    copied = inside;
  }
  out.append(body.substr(copied));
  return out;
}

}  // namespace hadal::upstream
