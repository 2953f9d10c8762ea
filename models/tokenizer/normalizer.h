// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal::tokenizer {

// What happens to text before it is cut into pieces: a sequence of NFC, Prepend and Replace (of literal texts).
// Filled by the loader, immutable and thread-safe afterwards.
class Normalizer {
 public:
  void AddNfc() { steps_.push_back({Kind::kNfc, {}, {}}); }
  void AddPrepend(std::string text) { steps_.push_back({Kind::kPrepend, std::move(text), {}}); }
  void AddReplace(std::string from, std::string to) {
    steps_.push_back({Kind::kReplace, std::move(from), std::move(to)});
  }

  // No steps: Apply would return its input.
  bool IsIdentity() const { return steps_.empty(); }

  // Apply makes no text shorter than its bytes divided by this; 0: by any amount.
  size_t MaxShrinking() const;

  // `text` is valid UTF-8. Time is linear, but n log n in runs of combining marks.
  std::string Apply(std::string_view text) const;

 private:
  enum class Kind { kNfc, kPrepend, kReplace };
  struct Step {
    Kind kind;
    std::string first;   // Prepend: the text; Replace: what to look for
    std::string second;  // Replace: what to put there
  };
  std::vector<Step> steps_;
};

}  // namespace hadal::tokenizer
