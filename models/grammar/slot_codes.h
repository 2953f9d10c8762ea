// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::grammar {

// Slots on their way into a grammar and out of it. In a schema a slot is the constant string of this marker, a
// noncharacter, and its number.
inline constexpr std::string_view kSlotMarker = "\xF4\x8F\xBF\xBE";  // U+10FFFE

// Code words that stand for a whole string, its quotes included, where the grammar has a slot. They begin with bytes
// that no UTF-8 text holds.
class SlotCodes {
 public:
  SlotCodes(size_t slots, bool shared) : slots_(slots), shared_(shared) {}

  // How a slot's string is written: as JSON in quotes, or as text up to a marker.
  enum class Writing : uint8_t { kJson, kText };

  // A grammar as xgrammar serializes it, with code words in the places of markers. Internal when one is cut.
  absl::StatusOr<std::string> Write(const std::string& serialized_grammar) const;

  // The word for a string that fits all of `fitting`, which is not empty; one unless slots are shared.
  std::string Word(const std::vector<int>& fitting, Writing writing = Writing::kJson) const;

  // Words of one slot fall into groups: Group(g) begins those of the slots [g * kGroup, (g + 1) * kGroup).
  static constexpr int kGroup = 64;
  size_t groups() const { return (slots_ + kGroup - 1) / kGroup; }
  static std::string Group(int group, Writing writing = Writing::kJson);
  static std::string InGroup(int slot);

 private:
  const size_t slots_;
  const bool shared_;
};

}  // namespace hadal::grammar
