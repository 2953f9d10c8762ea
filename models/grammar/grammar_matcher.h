// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xgrammar/matcher.h>

#include <array>
#include <memory>
#include <optional>
#include <string_view>

#include "models/grammar/grammar_compiler.h"
#include "models/grammar/slot_matcher.h"
#include "models/grammar/vocabulary_info.h"
#include "models/token_grammar.h"

namespace hadal::grammar {

// Whether long white space between the values of JSON is cut: not in text that is none, nor in an answer that begins
// with a marker, as calls do whose strings are no JSON.
enum class WhiteSpace : uint8_t { kFree, kLimited, kFreeAfterMarker };

// Follows one sequence: first its reasoning, if it has any, then xgrammar's matcher, with a SlotMatcher beside it for
// strings of bounded length. Both mask buffers are reused, so the steady state allocates nothing. Not thread-safe.
class GrammarMatcher final : public models::TokenConstraint {
 public:
  // `reasoning` other than kNone needs the token </think>, and kMayOpen also <think>. `slots`: null without any.
  GrammarMatcher(std::shared_ptr<const VocabularyInfo> vocabulary, const xgrammar::CompiledGrammar& grammar,
                 std::shared_ptr<const CompiledSlots> slots, Reasoning reasoning, WhiteSpace white_space);

  absl::StatusOr<std::shared_ptr<const models::TokenMask>> Mask() override;
  absl::Status Accept(int32_t token) override;
  bool ended() const override { return ended_; }

 private:
  enum class Phase : uint8_t { kMayOpen, kReasoning, kAnswer };

  // The white space at the end of the text so far.
  struct WhiteSpaceRun {
    int line_breaks = 0;
    int blanks = 0;  // after the last line break

    bool IsLong() const;
    void Append(std::string_view text);
  };

  std::shared_ptr<models::TokenMask> FreeBuffer();
  void FillAnswer(models::TokenMask* mask);
  void CutWhiteSpace(models::TokenMask* mask) const;
  // Keeps the white space in mind.
  void Follow(std::string_view text);

  const std::shared_ptr<const VocabularyInfo> vocabulary_;
  const std::shared_ptr<const CompiledSlots> compiled_slots_;
  xgrammar::GrammarMatcher matcher_;
  std::optional<SlotMatcher> slots_;
  Phase phase_;
  WhiteSpace white_space_;
  bool ended_ = false;
  WhiteSpaceRun run_;
  std::array<std::shared_ptr<models::TokenMask>, 2> buffers_;
};

}  // namespace hadal::grammar
