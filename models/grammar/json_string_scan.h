// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "models/grammar/utf8_sequence.h"

namespace hadal::grammar {

// Reads what follows the opening quote of a JSON string, byte by byte, and counts its characters as JSON Schema does:
// code points of the decoded text, so that \n counts as one and an escaped pair of surrogates too. A small value.
class JsonStringScan {
 public:
  enum class Step : uint8_t { kContent, kClosed, kInvalid };

  // Takes one more byte of valid JSON in UTF-8. After kClosed and kInvalid the scan is over.
  Step Push(unsigned char byte);

  // Begun characters. While an escape may still become the second half of a pair it is not counted.
  int64_t characters() const { return characters_; }
  // Nothing begun is unfinished.
  bool between() const { return state_ == State::kText && utf8_.between(); }
  // As at the begin of a string: neither that, nor does what comes next count as half of a pair.
  bool plain() const { return between() && !after_high_; }

 private:
  enum class State : uint8_t { kText, kEscape, kHex };

  Step Text(unsigned char byte);
  Step Hex(unsigned char byte);
  // The escape that may have been half of a pair is a character of its own.
  void CountEscape();

  int64_t characters_ = 0;
  State state_ = State::kText;
  bool after_high_ = false;  // the last character is an escaped high surrogate
  bool may_be_low_ = false;  // the escape that is being read may complete it
  uint8_t digits_ = 0;       // of \uXXXX, read so far
  uint16_t value_ = 0;       // their value
  Utf8Sequence utf8_;
};

}  // namespace hadal::grammar
