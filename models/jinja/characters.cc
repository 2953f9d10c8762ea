// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/characters.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <vector>

#include "models/jinja/special_casing.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::jinja {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// glibc's own table of cases, whatever the locale of the process; null where it is missing.
locale_t CaseTable() {
  static const locale_t table = newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
  return table;
}

bool InRanges(const std::vector<unicode::CodePointRange>& ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const auto& range) { return c >= range.first && c <= range.last; });
}

const SpecialCase* FindSpecialCase(char32_t c) {
  const SpecialCase* const end = kSpecialCases + kNumSpecialCases;
  const SpecialCase* const found = std::lower_bound(
      kSpecialCases, end, c, [](const SpecialCase& special, char32_t wanted) { return special.character < wanted; });
  return found == end || found->character != c ? nullptr : found;
}

}  // namespace

size_t CharacterLength(std::string_view text, size_t at) {
  return static_cast<size_t>(base::Utf8Length(static_cast<unsigned char>(text[at])));
}

size_t CountCharacters(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), IsContinuation));
}

size_t OffsetOf(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += CharacterLength(text, at);
  return std::min(at, text.size());
}

std::string_view CutAtCharacter(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && IsContinuation(text[bytes])) --bytes;
  return text.substr(0, bytes);
}

bool IsSpace(char32_t c) { return (unicode::CharTable::Get()[c] & unicode::kSpace) != 0 || (c >= 0x1C && c <= 0x1F); }
bool IsAlpha(char32_t c) { return (unicode::CharTable::Get()[c] & unicode::kLetter) != 0; }
bool IsDigit(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  static const auto kRanges = unicode::CategoryRanges("Nd");
  return InRanges(kRanges, c);
}
bool IsNumeric(char32_t c) { return (unicode::CharTable::Get()[c] & unicode::kNumber) != 0; }

bool IsPrintable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  constexpr uint8_t kVisible =
      unicode::kLetter | unicode::kMark | unicode::kNumber | unicode::kPunctuation | unicode::kSymbol;
  return (unicode::CharTable::Get()[c] & kVisible) != 0;
}

char32_t ToUpper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  return CaseTable() == locale_t{} ? c : static_cast<char32_t>(towupper_l(static_cast<wint_t>(c), CaseTable()));
}

char32_t ToLower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  return CaseTable() == locale_t{} ? c : static_cast<char32_t>(towlower_l(static_cast<wint_t>(c), CaseTable()));
}

CasedCharacter FullUpper(char32_t c) {
  const SpecialCase* const special = c < 0x80 ? nullptr : FindSpecialCase(c);
  return special == nullptr || special->upper[0] == '\0' ? CasedCharacter{ToUpper(c)}
                                                         : CasedCharacter{0, special->upper};
}

CasedCharacter FullLower(char32_t c) {
  return c == U'\u0130' ? CasedCharacter{0, "i\u0307"} : CasedCharacter{ToLower(c)};
}

CasedCharacter FullTitle(char32_t c) {
  const SpecialCase* const special = c < 0x80 ? nullptr : FindSpecialCase(c);
  return special == nullptr || special->title[0] == '\0' ? FullUpper(c) : CasedCharacter{0, special->title};
}

}  // namespace hadal::jinja
