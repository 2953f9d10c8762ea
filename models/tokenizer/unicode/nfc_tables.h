// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// Normalisation data written by make_unicode_tables.py. Use nfc.h.
namespace hadal::unicode {

struct CombiningRange {
  uint32_t first;
  uint32_t last;
  uint8_t combining_class;
};

// The full canonical decomposition, unused places 0. Hangul syllables are computed instead.
struct Decomposition {
  uint32_t code_point;
  uint32_t parts[4];
};

struct Composition {
  uint32_t first;
  uint32_t second;
  uint32_t composed;
};

extern const CombiningRange kCombiningClasses[];  // sorted
extern const size_t kCombiningClassesSize;
extern const Decomposition kDecompositions[];  // sorted
extern const size_t kDecompositionsSize;
extern const Composition kCompositions[];  // sorted by (first, second)
extern const size_t kCompositionsSize;

}  // namespace hadal::unicode
