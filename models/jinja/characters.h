// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hadal::jinja {

// Python counts characters, our texts are UTF-8. All texts here are valid.

// Bytes of the character that begins at byte `at`.
size_t CharacterLength(std::string_view text, size_t at);
size_t CountCharacters(std::string_view text);
// Byte at which the character number `index` begins; text.size() beyond the last one.
size_t OffsetOf(std::string_view text, size_t index);
// At most `bytes` of the text, not cut inside a character.
std::string_view CutAtCharacter(std::string_view text, size_t bytes);

// Python's str.isspace, isalpha, isdigit, isprintable for one character, and its simple case mappings.
bool IsSpace(char32_t c);
bool IsAlpha(char32_t c);
bool IsDigit(char32_t c);
bool IsNumeric(char32_t c);
bool IsPrintable(char32_t c);
char32_t ToUpper(char32_t c);
char32_t ToLower(char32_t c);

// One character, or the text of several.
struct CasedCharacter {
  char32_t one = 0;
  std::string_view several = {};
};
// Python's str.upper, lower and title for one character: the full case mappings. The final sigma is one like others.
CasedCharacter FullUpper(char32_t c);
CasedCharacter FullLower(char32_t c);
CasedCharacter FullTitle(char32_t c);

// Calls visit(code_point, begin, end) for each character until it returns false.
template <typename Visit>
void ForEachCharacter(std::string_view text, Visit visit);

}  // namespace hadal::jinja

#include "base/utf8.h"

namespace hadal::jinja {

template <typename Visit>
void ForEachCharacter(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    int length = 0;
    const char32_t c = base::DecodeUtf8(text.data() + at, &length);
    const size_t end = at + static_cast<size_t>(length);
    if (!visit(c, at, end)) return;
    at = end;
  }
}

}  // namespace hadal::jinja
