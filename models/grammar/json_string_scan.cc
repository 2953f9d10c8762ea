// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/json_string_scan.h"

#include <string_view>

namespace hadal::grammar {
namespace {

int HexDigit(unsigned char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const unsigned char lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

JsonStringScan::Step JsonStringScan::Push(unsigned char byte) {
  switch (state_) {
    case State::kText:
      return Text(byte);
    case State::kEscape:
      if (byte == 'u') {
        state_ = State::kHex;
        digits_ = 0;
        value_ = 0;
        return Step::kContent;
      }
      if (std::string_view("\"\\/bfnrt").find(static_cast<char>(byte)) == std::string_view::npos) return Step::kInvalid;
      CountEscape();
      after_high_ = false;
      state_ = State::kText;
      return Step::kContent;
    case State::kHex:
      return Hex(byte);
  }
  return Step::kInvalid;
}

JsonStringScan::Step JsonStringScan::Text(unsigned char byte) {
  if (!utf8_.between()) return utf8_.Push(byte) ? Step::kContent : Step::kInvalid;
  if (byte == '"') return Step::kClosed;
  if (byte < 0x20) return Step::kInvalid;
  if (byte == '\\') {
    may_be_low_ = after_high_;
    if (!may_be_low_) ++characters_;
    state_ = State::kEscape;
    return Step::kContent;
  }
  after_high_ = false;
  ++characters_;
  return utf8_.Push(byte) ? Step::kContent : Step::kInvalid;
}

JsonStringScan::Step JsonStringScan::Hex(unsigned char byte) {
  const int digit = HexDigit(byte);
  if (digit < 0) return Step::kInvalid;
  value_ = static_cast<uint16_t>(value_ * 16 + digit);
  ++digits_;
  // A low surrogate is DC00 to DFFF.
  if ((digits_ == 1 && value_ != 0xD) || (digits_ == 2 && value_ < 0xDC) || (digits_ == 2 && value_ > 0xDF)) {
    CountEscape();
  }
  if (digits_ < 4) return Step::kContent;
  after_high_ = !may_be_low_ && value_ >= 0xD800 && value_ < 0xDC00;
  may_be_low_ = false;
  state_ = State::kText;
  return Step::kContent;
}

void JsonStringScan::CountEscape() {
  if (may_be_low_) ++characters_;
  may_be_low_ = false;
}

}  // namespace hadal::grammar
