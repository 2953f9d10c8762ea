// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::grammar {

// Checks bytes of UTF-8 one by one: no surrogates, no longer forms than needed. A small value.
class Utf8Sequence {
 public:
  // False when the byte cannot stand here.
  bool Push(unsigned char byte) {
    if (left_ > 0) {
      if (byte < low_ || byte > high_) return false;
      low_ = 0x80;
      high_ = 0xBF;
      --left_;
      return true;
    }
    if (byte < 0x80) return true;
    if (byte < 0xC2 || byte > 0xF4) return false;
    left_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    if (byte == 0xE0) low_ = 0xA0;
    if (byte == 0xED) high_ = 0x9F;
    if (byte == 0xF0) low_ = 0x90;
    if (byte == 0xF4) high_ = 0x8F;
    return true;
  }
  // Whether the next byte begins a character.
  bool between() const { return left_ == 0; }

 private:
  uint8_t left_ = 0;                  // bytes that the character lacks
  uint8_t low_ = 0x80, high_ = 0xBF;  // where the next of them may lie
};

}  // namespace hadal::grammar
