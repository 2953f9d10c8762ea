// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "models/grammar/utf8_sequence.h"

namespace hadal::grammar {

// Reads text that ends at the first occurrence of a marker, byte by byte, and counts its characters. The marker begins
// with a byte that is nowhere else in it. A small value.
class TextScan {
 public:
  enum class Step : uint8_t { kContent, kClosed, kInvalid };

  // `end` outlives this.
  explicit TextScan(std::string_view end) : end_(end) {}

  Step Push(unsigned char byte) {
    const bool begins = utf8_.between();
    if (!utf8_.Push(byte)) return Step::kInvalid;
    if (byte != static_cast<unsigned char>(end_[matched_])) {
      characters_ = with_end_;
      matched_ = 0;
    }
    if (begins) ++with_end_;
    if (byte == static_cast<unsigned char>(end_[matched_])) {
      ++matched_;
    } else {
      characters_ = with_end_;
    }
    return matched_ == end_.size() ? Step::kClosed : Step::kContent;
  }

  // Characters before what may be the begin of the marker, and with it.
  int64_t characters() const { return characters_; }
  int64_t with_end() const { return with_end_; }
  bool between() const { return utf8_.between(); }
  // The byte that would go on with the marker.
  unsigned char next_of_end() const { return static_cast<unsigned char>(end_[matched_]); }

  // Whether a text of `min` to `max` characters can come of this.
  bool CanFit(int64_t min, int64_t max) const { return with_end_ <= max || (characters_ >= min && characters_ <= max); }

 private:
  std::string_view end_;
  int64_t characters_ = 0, with_end_ = 0;
  size_t matched_ = 0;
  Utf8Sequence utf8_;
};

}  // namespace hadal::grammar
