// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

// Finding markers in text that is still growing.
namespace hadal::chat {

inline constexpr std::string_view kSpaces = " \t\r\n";

inline size_t CountSpaces(std::string_view text) { return std::min(text.find_first_not_of(kSpaces), text.size()); }

// Length of the longest end of `text` that is the beginning of `marker`, but not all of it.
inline size_t PartialAtEnd(std::string_view text, std::string_view marker) {
  for (size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == marker.substr(0, n)) return n;
  }
  return 0;
}

// Whether more text could complete `marker` from the beginning of `text`.
inline bool CouldBecome(std::string_view text, std::string_view marker) {
  return text.size() < marker.size() && marker.starts_with(text);
}

// How many characters of `set`, at most `limit`, `text` ends with.
inline size_t CountAtEnd(std::string_view text, std::string_view set, size_t limit) {
  size_t n = 0;
  while (n < limit && n < text.size() && set.find(text[text.size() - 1 - n]) != set.npos) ++n;
  return n;
}

}  // namespace hadal::chat
