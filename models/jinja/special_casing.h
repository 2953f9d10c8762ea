// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hadal::jinja {

// A character whose upper or title case is more than the simple mapping of one character to one (Unicode's
// SpecialCasing, title-case letters). Texts are UTF-8.
struct SpecialCase {
  char32_t character;
  const char* upper;  // "": the simple mapping
  const char* title;  // "": as in upper case
};

// In the order of the characters.
extern const SpecialCase kSpecialCases[];
extern const int kNumSpecialCases;

}  // namespace hadal::jinja
