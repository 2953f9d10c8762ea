// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/tokenizer/matcher.h"

namespace hadal::tokenizer {

// What happens to the matches of a split: Hugging Face's SplitDelimiterBehavior.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Buffers of one Encode call, reused from stretch to stretch.
struct PretokenizeScratch {
  std::vector<Match> matches;
  std::vector<Match> pieces;
  std::vector<Match> next_pieces;
  std::string prefixed;
};

// Cuts text into the pieces that byte-pair encoding treats one by one: splits in sequence, each seeing the pieces of
// the one before in isolation, then ByteLevel. Filled by the loader; immutable and thread-safe afterwards.
class Pretokenizer {
 public:
  void AddSplit(std::unique_ptr<Matcher> matcher, SplitBehavior behavior, bool invert);
  // Puts a space before pieces that have none: ByteLevel, which must come last and whose use_regex is an AddSplit of
  // kGpt2Pattern after it, and Metaspace. `only_first`: before the first one of a text alone.
  void AddPrefixSpace(bool only_first);

  // Some step leaves matches out of the pieces.
  bool RemovesText() const;

  // Sets *text to the text the pieces point into (`input`, or scratch->prefixed) and scratch->pieces to the non-empty
  // pieces. `first`: the input begins the text.
  absl::Status Run(std::string_view input, bool first, PretokenizeScratch* scratch, std::string_view* text) const;

 private:
  struct Step {
    std::unique_ptr<Matcher> matcher;  // null: prefix space
    SplitBehavior behavior;
    bool invert;
    bool only_first = false;
  };
  std::vector<Step> steps_;
};

}  // namespace hadal::tokenizer
