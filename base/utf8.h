// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::base {

// Length of the character whose first byte is `lead`; valid UTF-8 only.
inline int Utf8Length(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

// Decodes the character at `p` of valid UTF-8 and sets its length.
inline char32_t DecodeUtf8(const char* p, int* length) {
  const auto* b = reinterpret_cast<const unsigned char*>(p);
  if (b[0] < 0x80) {
    *length = 1;
    return b[0];
  }
  if (b[0] < 0xE0) {
    *length = 2;
    return (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu);
  }
  if (b[0] < 0xF0) {
    *length = 3;
    return (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
  }
  *length = 4;
  return (b[0] & 0x07u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
}

// First byte of the last character of `text`; valid UTF-8, not empty.
inline size_t LastCharacter(std::string_view text) {
  size_t i = text.size() - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

void AppendUtf8(char32_t code_point, std::string* out);

// Characters (code points) in `text`; valid UTF-8 only.
int64_t CountCharacters(std::string_view text);

// The longest prefix of at most `max_bytes` that does not cut a character in two; valid UTF-8 only.
std::string_view Utf8Prefix(std::string_view text, size_t max_bytes);

// Byte offset of the first invalid sequence, or npos for valid UTF-8 (no surrogates, nothing above U+10FFFF).
size_t FindInvalidUtf8(std::string_view text);

// Appends `bytes` as valid UTF-8 with U+FFFD for each maximal subpart of an ill-formed sequence (Unicode 3.9, table
// 3-8). Unless `last`, stops before a final sequence that more bytes could complete. Returns the bytes consumed; at
// most 3 are left.
size_t AppendReplacingInvalid(std::string_view bytes, bool last, std::string* out);

// All of `bytes`, as above.
std::string ToValidUtf8(std::string_view bytes);

}  // namespace hadal::base
