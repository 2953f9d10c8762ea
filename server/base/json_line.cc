// SPDX-License-Identifier: Apache-2.0
#include "server/base/json_line.h"

#include <array>
#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/json_string.h"

namespace hadal::base {

JsonLine::JsonLine(absl::Time now)
    : text_(absl::StrCat("{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone()), "\"")) {}

void JsonLine::Add(std::string_view key, const LogValue& value) {
  text_ += ',';
  AppendJsonQuoted(key, &text_);
  text_ += ':';
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    AppendJsonQuoted(*text, &text_);
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

}  // namespace hadal::base
