// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::grammar {

// Strings of a bounded number of characters. For xgrammar each count would be a state in which nearly every token has
// to be tried. So a schema with such strings is compiled with slots in their places: a slot is written as a code word,
// which no token holds, and SlotMatcher reads the strings itself and tells xgrammar's matcher which slots each fits.
//
// Where branches of an anyOf may be read side by side, a string may fit several of them. Then every string that is a
// value gets a slot, and a code word can name several.
struct StringSlot {
  static constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();

  int64_t min = 0, max = kUnbounded;  // characters, as JsonStringScan counts them
  std::string form;                   // what else holds, as a schema of its own; "" when nothing does
  std::vector<std::string> endings;   // see EndingsOfFormat; empty where a text of the form can end anywhere

  bool operator==(const StringSlot&) const = default;
};

struct SlottedFormat {
  std::string format;             // with markers in the places of strings, see slot_codes.h
  std::vector<StringSlot> slots;  // by their numbers
  bool shared = false;            // a string may fit several slots
  bool text = false;              // some strings are text and no JSON; their slots are neither shared nor have a form
};

// How many there may be.
inline constexpr int kMaxSlots = 4096;
inline constexpr int kMaxSharedSlots = 64;

// `format` (see GrammarSpec) with slots; no slots, and `format` as it was, when no string in it is bounded.
// InvalidArgument above a limit, and where text would need what it cannot have.
absl::StatusOr<SlottedFormat> TakeSlots(const std::string& format);

}  // namespace hadal::grammar
