// SPDX-License-Identifier: Apache-2.0
#include "server/base/json_line.h"

#include <array>
#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::base {

JsonLine::JsonLine(absl::Time now)
    : text_(absl::StrCat("{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone()), "\"")) {}

void JsonLine::Add(std::string_view key, const LogValue& value) {
  text_ += ',';
  AddString(key);
  text_ += ':';
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    AddString(*text);
  } else if (const auto* number = std::get_if<int64_t>(&value)) {
    absl::StrAppend(&text_, *number);
  } else {
    // The fewest digits that give the number back.
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.begin(), digits.end(), std::get<double>(value)).ptr;
    text_.append(digits.begin(), end);
  }
}

std::string JsonLine::Take() {
  text_ += '}';
  return std::move(text_);
}

void JsonLine::AddString(std::string_view text) {
  text_ += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (byte < 0x20) {
      absl::StrAppendFormat(&text_, "\\u%04x", byte);
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

}  // namespace hadal::base
