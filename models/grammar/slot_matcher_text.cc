// SPDX-License-Identifier: Apache-2.0
// Strings that are text and no JSON: arguments of calls between tags.
#include <algorithm>

#include "models/grammar/matcher_trial.h"
#include "models/grammar/slot_matcher.h"

namespace hadal::grammar {
namespace {

constexpr SlotCodes::Writing kText = SlotCodes::Writing::kText;

// Moves the scan over `text` up to its end, or through the marker that ends the string; bytes read.
size_t ScanText(std::string_view text, TextScan* scan, TextScan::Step* step) {
  *step = TextScan::Step::kContent;
  size_t at = 0;
  while (at < text.size() && *step == TextScan::Step::kContent)
    *step = scan->Push(static_cast<unsigned char>(text[at++]));
  return at;
}

}  // namespace

std::optional<SlotMatcher::OpenText> SlotMatcher::OpenTextHere() {
  const int slots = static_cast<int>(compiled_.slots.size());
  for (int group = 0; group < static_cast<int>(compiled_.codes.groups()); ++group) {
    const MatcherTrial begins(outside_, SlotCodes::Group(group, kText));
    if (!begins.ok()) continue;
    for (int slot = group * SlotCodes::kGroup; slot < std::min(slots, (group + 1) * SlotCodes::kGroup); ++slot) {
      if (MatcherTrial(outside_, SlotCodes::InGroup(slot)).ok()) return OpenText{slot, TextScan(compiled_.text_end)};
    }
  }
  return std::nullopt;
}

bool SlotMatcher::CanFollowInText(OpenText open, std::string_view text) {
  const CompiledSlots::Slot& slot = compiled_.slots[open.slot];
  TextScan::Step step;
  const size_t read = ScanText(text, &open.scan, &step);
  if (step == TextScan::Step::kInvalid) return false;
  if (step == TextScan::Step::kContent) return open.scan.CanFit(slot.min, slot.max);
  if (open.scan.characters() < slot.min || open.scan.characters() > slot.max) return false;
  const MatcherTrial ended(outside_, compiled_.codes.Word({open.slot}, kText) + compiled_.text_end);
  return ended.ok() && CanFollow(text.substr(read));
}

void SlotMatcher::FillText(models::TokenMask* mask) {
  const TextScan& scan = text_->scan;
  const auto try_all = [&](const std::vector<int32_t>& tokens) {
    for (const int32_t token : tokens) {
      if (!Holds(*mask, token) && CanFollowInText(*text_, strings_.bytes(token))) Put(mask, token);
    }
  };
  if (scan.between()) {
    // Text that does not go on with the marker makes characters of what may have been its begin.
    const int64_t max = compiled_.slots[text_->slot].max;
    if (scan.with_end() <= max) strings_.AddText(max - scan.with_end(), mask);
    try_all(strings_.marked());
    try_all(strings_.StartingWith(scan.next_of_end()));
  } else {
    for (int byte = 0x80; byte < 0xC0; ++byte) try_all(strings_.StartingWith(static_cast<unsigned char>(byte)));
  }
}

size_t SlotMatcher::AdvanceInText(std::string_view text) {
  TextScan::Step step;
  const size_t read = ScanText(text, &text_->scan, &step);
  if (step == TextScan::Step::kClosed) {
    outside_.AcceptString(compiled_.codes.Word({text_->slot}, kText) + compiled_.text_end);
    text_.reset();
  }
  return read;
}

}  // namespace hadal::grammar
