// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/slot_matcher.h"

#include <dlpack/dlpack.h>

#include <algorithm>

#include "models/grammar/matcher_trial.h"

namespace hadal::grammar {

void FillMask(xgrammar::GrammarMatcher* matcher, models::TokenMask* mask) {
  int64_t shape = static_cast<int64_t>(mask->size());
  DLTensor tensor{};
  tensor.data = mask->data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = xgrammar::GetBitmaskDLType();
  tensor.shape = &shape;
  matcher->FillNextTokenBitmask(&tensor);
}

namespace {

using Step = JsonStringScan::Step;
using Trial = MatcherTrial;

// Moves the scan over `text` up to its end or to the quote that closes the string, whose place is given back.
struct Scanned {
  Step step = Step::kContent;
  size_t at = 0;
};
Scanned ScanOver(std::string_view text, JsonStringScan* scan) {
  for (size_t at = 0; at < text.size(); ++at) {
    const Step step = scan->Push(static_cast<unsigned char>(text[at]));
    if (step != Step::kContent) return {step, at};
  }
  return {Step::kContent, text.size()};
}

}  // namespace

// --- Whether a text may follow ----------------------------------------------

std::optional<SlotMatcher::Open> SlotMatcher::OpenHere() {
  std::optional<Open> open;
  const int slots = static_cast<int>(compiled_.slots.size());
  for (int group = 0; group < static_cast<int>(compiled_.codes.groups()); ++group) {
    const Trial begins(outside_, SlotCodes::Group(group));
    if (!begins.ok()) continue;
    for (int slot = group * SlotCodes::kGroup; slot < std::min(slots, (group + 1) * SlotCodes::kGroup); ++slot) {
      if (!Trial(outside_, SlotCodes::InGroup(slot)).ok()) continue;
      Live live{slot, nullptr};
      if (const auto& form = compiled_.slots[slot].form; form.has_value()) {
        live.form = std::make_unique<xgrammar::GrammarMatcher>(*form);
        live.form->AcceptString("\"");
      }
      if (!open.has_value()) open.emplace();
      open->live.push_back(std::move(live));
    }
  }
  return open;
}

size_t SlotMatcher::FindOpener(std::string_view text) const {
  return compiled_.text_end.empty() ? text.find('"') : text.find_first_of("\">");
}

bool SlotMatcher::CanFollow(std::string_view text) {
  const size_t at = FindOpener(text);
  if (at == std::string_view::npos) return Trial(outside_, text).ok();
  const bool tag = text[at] == '>';
  const Trial lead(outside_, text.substr(0, tag ? at + 1 : at));
  if (!lead.ok()) return false;
  const std::string_view after = text.substr(at + 1);
  if (tag) {
    const std::optional<OpenText> open = OpenTextHere();
    return open.has_value() ? CanFollowInText(*open, after) : CanFollow(after);
  }
  if (const Trial key(outside_, "\""); key.ok()) return CanFollow(after);
  std::optional<Open> open = OpenHere();
  return open.has_value() && CanFollowInside(*open, after);
}

bool SlotMatcher::CanFollowInside(Open& open, std::string_view text) {
  JsonStringScan scan = open.scan;
  const Scanned scanned = ScanOver(text, &scan);
  if (scanned.step == Step::kInvalid) return false;
  const std::string_view content = text.substr(0, scanned.at);
  if (scanned.step == Step::kContent) return FitsOne(open, scan, content);
  const std::string word = WordAfter(open, scan, content);
  return !word.empty() && CanEnd(open, word, text.substr(scanned.at + 1));
}

bool SlotMatcher::CanEnd(Open& open, const std::string& word, std::string_view rest) {
  if (open_.has_value() && &open == &*open_) return RestsAfter(word)[strings_.RestOf(rest)];
  const Trial ended(outside_, word);
  return ended.ok() && CanFollow(rest);
}

const std::vector<bool>& SlotMatcher::RestsAfter(const std::string& word) {
  const auto [found, is_new] = open_->rests.try_emplace(word);
  if (!is_new) return found->second;
  std::vector<bool>& may_follow = found->second;
  may_follow.assign(strings_.rests().size(), false);
  const Trial ended(outside_, word);
  if (!ended.ok()) return may_follow;
  // In order: what cannot follow keeps out everything that begins like it.
  std::optional<char> refused;
  for (size_t i = 0; i < may_follow.size(); ++i) {
    const std::string_view rest = strings_.rests()[i];
    if (refused.has_value() && rest.starts_with(*refused)) continue;
    may_follow[i] = CanFollow(rest);
    if (may_follow[i] || rest.starts_with('"') || Trial(outside_, rest.substr(0, 1)).ok()) continue;
    refused = rest[0];
  }
  return may_follow;
}

bool SlotMatcher::FitsOne(Open& open, const JsonStringScan& scan, std::string_view content) {
  return std::any_of(open.live.begin(), open.live.end(), [&](Live& live) {
    if (live.form == nullptr) return scan.characters() <= compiled_.slots[live.slot].max;
    return FitsForm(live, scan.characters(), scan.characters() - open.scan.characters(), content);
  });
}

bool SlotMatcher::FitsForm(const Live& live, int64_t characters, int64_t added, std::string_view content) const {
  const CompiledSlots::Slot& slot = compiled_.slots[live.slot];
  if (characters > slot.max) return false;
  const Trial next(*live.form, content);
  if (!next.ok() || characters <= slot.free()) return next.ok();
  // One character at a time, so that few have to be tried for a mask.
  return added <= 1 && std::any_of(slot.endings.begin(), slot.endings.end(), [&](const std::string& ending) {
           if (characters + static_cast<int64_t>(ending.size()) > slot.max) return false;
           const Trial whole(*live.form, ending + "\"");
           return whole.ok() && live.form->IsCompleted();
         });
}

std::string SlotMatcher::WordAfter(Open& open, const JsonStringScan& scan, std::string_view content) {
  std::vector<int> fitting;
  for (Live& live : open.live) {
    const CompiledSlots::Slot& slot = compiled_.slots[live.slot];
    if (scan.characters() < slot.min || scan.characters() > slot.max) continue;
    if (live.form != nullptr) {
      const Trial whole(*live.form, std::string(content) + "\"");
      if (!whole.ok() || !live.form->IsCompleted()) continue;
    }
    fitting.push_back(live.slot);
  }
  return fitting.empty() ? "" : compiled_.codes.Word(fitting);
}

// --- Masks -------------------------------------------------------------------

void SlotMatcher::AddOpeners(models::TokenMask* mask) {
  for (const StringTokens::Opener& opener : strings_.openers()) {
    const auto held = [&](const StringTokens::Opener::Token& token) { return Holds(*mask, token.id); };
    if (std::all_of(opener.tokens.begin(), opener.tokens.end(), held)) continue;
    const Trial lead(outside_, opener.lead);
    if (!lead.ok()) continue;
    const auto add = [&](const auto& can_follow) {
      for (const StringTokens::Opener::Token& token : opener.tokens) {
        if (!Holds(*mask, token.id) && can_follow(token.after)) Put(mask, token.id);
      }
    };
    if (const Trial key(outside_, "\""); key.ok()) {
      add([&](std::string_view after) { return CanFollow(after); });
      continue;
    }
    std::optional<Open> open = OpenHere();
    if (open.has_value()) add([&](std::string_view after) { return CanFollowInside(*open, after); });
  }
  if (compiled_.text_end.empty()) return;
  for (const int32_t token : strings_.past_markers()) {
    if (!Holds(*mask, token) && CanFollow(strings_.bytes(token))) Put(mask, token);
  }
}

void SlotMatcher::Fill(models::TokenMask* mask) {
  std::fill(mask->begin(), mask->end(), 0u);
  if (text_.has_value()) return FillText(mask);
  // Of slots without a form the one with most room allows what the others allow.
  std::optional<int64_t> max;
  for (const Live& live : open_->live) {
    if (live.form != nullptr) {
      AddFormContent(live, mask);
    } else {
      max = std::max(max.value_or(0), compiled_.slots[live.slot].max);
    }
  }
  if (max.has_value()) AddContent(*max, mask);
  AddClosers(mask);
}

bool SlotMatcher::StaysInside(int32_t token, int64_t max) const {
  JsonStringScan scan = open_->scan;
  return ScanOver(strings_.bytes(token), &scan).step == Step::kContent && scan.characters() <= max;
}

void SlotMatcher::AddContent(int64_t max, models::TokenMask* mask) {
  const JsonStringScan& scan = open_->scan;
  if (scan.between()) strings_.AddWithin(max - scan.characters(), mask);
  if (scan.plain()) return;
  // The table knows neither the second half of a pair nor of a character.
  for (int byte = 0; byte < 256; ++byte) {
    const char first = static_cast<char>(byte);
    JsonStringScan next = scan;
    if (scan.between() ? first != '\\' : next.Push(static_cast<unsigned char>(byte)) != Step::kContent) continue;
    for (const int32_t token : strings_.StartingWith(static_cast<unsigned char>(byte))) {
      if (StaysInside(token, max)) Put(mask, token);
    }
  }
}

void SlotMatcher::AddFormContent(const Live& live, models::TokenMask* mask) {
  form_mask_.resize(mask->size());
  FillMask(live.form.get(), &form_mask_);
  const int64_t max = compiled_.slots[live.slot].free();
  const bool may_near_limit = !compiled_.slots[live.slot].endings.empty();
  const models::TokenMask allowed = may_near_limit ? form_mask_ : models::TokenMask();
  const auto clear_leaving = [&](int32_t token) {
    if (Holds(form_mask_, token) && !StaysInside(token, max)) form_mask_[token / 32] &= ~(1u << (token % 32));
  };
  for (const int32_t token : strings_.quoted()) clear_leaving(token);
  if (max != StringSlot::kUnbounded) {
    const JsonStringScan& scan = open_->scan;
    if (scan.plain()) {
      models::TokenMask within(mask->size(), 0u);
      strings_.AddWithin(max - scan.characters(), &within);
      for (size_t i = 0; i < within.size(); ++i) form_mask_[i] &= within[i];
    } else {
      for (size_t i = 0; i < form_mask_.size() * 32; ++i) {
        if (form_mask_[i / 32] == 0) {
          i |= 31;
        } else {
          clear_leaving(static_cast<int32_t>(i));
        }
      }
    }
  }
  if (may_near_limit && open_->scan.characters() >= max) AddLastCharacters(live, allowed);
  for (size_t i = 0; i < form_mask_.size(); ++i) (*mask)[i] |= form_mask_[i];
}

void SlotMatcher::AddLastCharacters(const Live& live, const models::TokenMask& allowed) {
  const int64_t characters = open_->scan.characters();
  models::TokenMask single(allowed.size(), 0u);
  strings_.AddWithin(1, &single);
  for (size_t i = 0; i < allowed.size(); ++i) single[i] &= allowed[i];
  for (int32_t token = 0; token < static_cast<int32_t>(single.size() * 32); ++token) {
    if (!Holds(single, token) || Holds(form_mask_, token)) continue;
    if (FitsForm(live, characters + 1, 1, strings_.bytes(token))) Put(&form_mask_, token);
  }
}

void SlotMatcher::AddClosers(models::TokenMask* mask) {
  if (!open_->scan.plain()) {
    for (const int32_t token : strings_.quoted()) {
      if (!Holds(*mask, token) && CanFollowInside(*open_, strings_.bytes(token))) Put(mask, token);
    }
    return;
  }
  for (const StringTokens::Closer& closer : strings_.closers()) {
    JsonStringScan scan = open_->scan;
    ScanOver(closer.content, &scan);
    const std::string word = WordAfter(*open_, scan, closer.content);
    if (word.empty()) continue;
    const std::vector<bool>& may_follow = RestsAfter(word);
    for (const StringTokens::Closer::Token& token : closer.tokens) {
      if (may_follow[token.rest]) Put(mask, token.id);
    }
  }
}

// --- Steps -------------------------------------------------------------------

bool SlotMatcher::Accept(int32_t token) {
  const bool known = token >= 0 && token < static_cast<int32_t>(vocabulary_.tokens.GetDecodedVocab().size());
  const std::string_view text = known ? strings_.bytes(token) : std::string_view();
  if (!in_string() && outside_.AcceptToken(token)) {
    if (!compiled_.text_end.empty() && text.ends_with('>')) text_ = OpenTextHere();
    return true;
  }
  if (text.empty()) return false;
  if (!(text_.has_value()   ? CanFollowInText(*text_, text)
        : open_.has_value() ? CanFollowInside(*open_, text)
                            : CanFollow(text))) {
    return false;
  }
  Advance(text);
  return true;
}

void SlotMatcher::Advance(std::string_view text) {
  while (!text.empty()) {
    if (text_.has_value()) {
      text = text.substr(AdvanceInText(text));
      continue;
    }
    if (open_.has_value()) {
      text = text.substr(AdvanceInside(text));
      continue;
    }
    const size_t at = FindOpener(text);
    const bool tag = at != std::string_view::npos && text[at] == '>';
    const std::string_view lead = text.substr(0, tag ? at + 1 : at);
    if (!lead.empty()) outside_.AcceptString(std::string(lead));
    if (at == std::string_view::npos) return;
    if (tag) {
      text_ = OpenTextHere();
    } else if (!outside_.AcceptString("\"")) {
      open_ = OpenHere();
    }
    text = text.substr(at + 1);
  }
}

size_t SlotMatcher::AdvanceInside(std::string_view text) {
  JsonStringScan scan = open_->scan;
  const Scanned scanned = ScanOver(text, &scan);
  const std::string_view content = text.substr(0, scanned.at);
  if (scanned.step == Step::kClosed) {
    outside_.AcceptString(WordAfter(*open_, scan, content));
    open_.reset();
    return scanned.at + 1;
  }
  open_->scan = scan;
  std::erase_if(open_->live, [&](Live& live) {
    if (scan.characters() > compiled_.slots[live.slot].max) return true;
    return live.form != nullptr && !content.empty() && !live.form->AcceptString(std::string(content));
  });
  return text.size();
}

}  // namespace hadal::grammar
