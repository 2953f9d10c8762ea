// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "models/tokenizer/unicode/unicode_tables.h"

namespace hadal::unicode {

// Character classes of the split patterns, one bit each.
inline constexpr uint8_t kLetter = 1;         // \p{L}
inline constexpr uint8_t kMark = 2;           // \p{M}
inline constexpr uint8_t kNumber = 4;         // \p{N}
inline constexpr uint8_t kPunctuation = 8;    // \p{P}
inline constexpr uint8_t kSymbol = 16;        // \p{S}
inline constexpr uint8_t kSpace = 32;         // \s
inline constexpr uint8_t kNewline = 64;       // \r \n (also a space)
inline constexpr uint8_t kExtraNumber = 128;  // numeric for the Digits pre-tokenizer alone

// Class bits of every code point in two stages. One shared object, built on first use; thread-safe.
class CharTable {
 public:
  static const CharTable& Get();

  uint8_t operator[](char32_t c) const { return blocks_[size_t{index_[c >> 8]} << 8 | (c & 0xFF)]; }

 private:
  CharTable();
  uint16_t index_[0x1100];
  std::vector<uint8_t> blocks_;
};

// Ranges of a general category ("Lu") or group ("L"), sorted and disjoint; empty for an unknown name.
std::vector<CodePointRange> CategoryRanges(std::string_view name);

// The 25 code points of \s.
std::vector<CodePointRange> SpaceRanges();

// Whether regex's \w matches, for added tokens with single_word.
bool IsWordCharacter(char32_t c);

}  // namespace hadal::unicode
