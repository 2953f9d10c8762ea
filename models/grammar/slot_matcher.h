// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xgrammar/compiler.h>
#include <xgrammar/matcher.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/grammar/json_string_scan.h"
#include "models/grammar/slot_codes.h"
#include "models/grammar/string_slots.h"
#include "models/grammar/text_scan.h"
#include "models/grammar/vocabulary_info.h"
#include "models/token_grammar.h"

namespace hadal::grammar {

// The slots of one compiled grammar. Immutable.
struct CompiledSlots {
  struct Slot {
    int64_t min = 0, max = StringSlot::kUnbounded;
    std::optional<xgrammar::CompiledGrammar> form;  // of the whole JSON text of the string
    std::vector<std::string> endings;               // see EndingsOfFormat

    // Up to so many characters each text of the form can be completed.
    int64_t free() const {
      int64_t longest = 0;
      for (const std::string& ending : endings) longest = std::max(longest, static_cast<int64_t>(ending.size()));
      return max - longest;
    }
  };

  int64_t bytes() const {
    int64_t sum = 0;
    for (const Slot& slot : slots)
      sum += slot.form.has_value() ? static_cast<int64_t>(slot.form->MemorySizeBytes()) : 0;
    return sum;
  }

  std::vector<Slot> slots;
  SlotCodes codes;
  std::string text_end;  // what ends strings that are text and no JSON; "" when there are none
};

// The tokens that `matcher` allows next. Throws what xgrammar throws.
void FillMask(xgrammar::GrammarMatcher* matcher, models::TokenMask* mask);

// Follows an answer whose grammar has slots (string_slots.h). Outside of their strings xgrammar's matcher reads the
// text; inside it waits at the opening quote, the string is read here, and at its end the matcher gets the code word of
// the slots that it fits. JSON lets a quote open either a key or a value, so that the two never read the same string.
// Strings of calls that are text and no JSON begin behind a tag; one slot at most fits them. Not thread-safe.
class SlotMatcher {
 public:
  // `outside` is the matcher of the grammar with slots, at its begin. Both outlive this.
  SlotMatcher(const VocabularyInfo* vocabulary, const CompiledSlots* compiled, xgrammar::GrammarMatcher* outside)
      : vocabulary_(*vocabulary), strings_(vocabulary->strings), compiled_(*compiled), outside_(*outside) {}

  // Whether the text so far ends inside the string of a slot.
  bool in_string() const { return open_.has_value() || text_.has_value(); }
  // Inside: the tokens that may come next.
  void Fill(models::TokenMask* mask);
  // Outside: adds to xgrammar's own mask the tokens in which the string of a slot begins.
  void AddOpeners(models::TokenMask* mask);
  // False when the mask does not hold the token; then nothing has changed.
  bool Accept(int32_t token);

 private:
  // A slot that the string may fit so far.
  struct Live {
    int slot;
    std::unique_ptr<xgrammar::GrammarMatcher> form;  // null without one; has read the string as far as it goes
  };
  struct Open {
    std::vector<Live> live;
    JsonStringScan scan;
    // By the word of a string that ends here: which of the rests may follow it. Made when first asked for.
    std::map<std::string, std::vector<bool>> rests;
  };

  struct OpenText {
    int slot;
    TextScan scan;
  };

  // The slots whose strings may begin where `outside` stands; nullopt when there are none.
  std::optional<Open> OpenHere();
  std::optional<OpenText> OpenTextHere();

  // Whether `text` may follow. The matchers are left as they were.
  bool CanFollow(std::string_view text);
  bool CanFollowInside(Open& open, std::string_view text);
  bool CanFollowInText(OpenText open, std::string_view text);
  // The first byte of `text` behind which a string may begin.
  size_t FindOpener(std::string_view text) const;
  bool CanEnd(Open& open, const std::string& word, std::string_view rest);
  const std::vector<bool>& RestsAfter(const std::string& word);

  // The word of the slots that the string fits when it ends after `content`; "" when it fits none.
  std::string WordAfter(Open& open, const JsonStringScan& scan, std::string_view content);
  bool FitsOne(Open& open, const JsonStringScan& scan, std::string_view content);
  // Whether `content` may follow in the form of `live`, so that the string then has `characters`, `added` of them by
  // it.
  bool FitsForm(const Live& live, int64_t characters, int64_t added, std::string_view content) const;

  // Tokens that stay inside the string: with at most `max` characters, or with the form of a slot.
  void AddContent(int64_t max, models::TokenMask* mask);
  void AddFormContent(const Live& live, models::TokenMask* mask);
  // Adds to form_mask_ those of `allowed` that fit where a string of a form with endings nears its limit.
  void AddLastCharacters(const Live& live, const models::TokenMask& allowed);
  void AddClosers(models::TokenMask* mask);
  bool StaysInside(int32_t token, int64_t max) const;
  void FillText(models::TokenMask* mask);

  void Advance(std::string_view text);
  // Takes the begin of `text` that belongs to the open string, the closing quote included; its length.
  size_t AdvanceInside(std::string_view text);
  size_t AdvanceInText(std::string_view text);

  const VocabularyInfo& vocabulary_;
  const StringTokens& strings_;
  const CompiledSlots& compiled_;
  xgrammar::GrammarMatcher& outside_;
  std::optional<Open> open_;
  std::optional<OpenText> text_;  // at most one of the two
  models::TokenMask form_mask_;
};

}  // namespace hadal::grammar
