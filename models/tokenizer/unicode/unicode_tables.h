// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// Unicode data written by make_unicode_tables.py. Use unicode.h.
namespace hadal::unicode {

// The general category (index into make_unicode_tables.py's CATEGORIES) from `first` up to the next entry.
struct CategoryStart {
  uint32_t first;
  uint8_t category;
};

struct CodePointRange {
  uint32_t first;
  uint32_t last;
};

extern const CategoryStart kCategoryStarts[];
extern const size_t kCategoryStartsSize;
// Numbers of Rust's char::is_numeric that the regular expression engine's Unicode version does not know yet.
extern const CodePointRange kExtraNumeric[];
extern const size_t kExtraNumericSize;
// Characters of words, for added tokens with single_word.
extern const CodePointRange kWordRanges[];
extern const size_t kWordRangesSize;

}  // namespace hadal::unicode
