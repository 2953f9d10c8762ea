// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::tokenizer {

// Bytes [begin, end) of a text.
struct Match {
  uint32_t begin;
  uint32_t end;
};

// Finds the occurrences of one split pattern. Immutable and thread-safe.
class Matcher {
 public:
  virtual ~Matcher() = default;

  // Appends the matches in `text` (valid UTF-8), leftmost first, not overlapping. The text is seen in isolation:
  // look-ahead ends at its end. An error ends the request, not the process (a pattern that backtracks beyond its
  // limit).
  virtual absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const = 0;
};

// A matcher for a regular expression with the meaning Oniguruma gives it: a hand-written scanner when the pattern is
// one of the known ones (known_patterns.h) or a run of one character class (class_run.h), else the regular expression
// engine.
absl::StatusOr<std::unique_ptr<Matcher>> MakeRegexMatcher(std::string_view pattern);

// Always the regular expression engine; the tests compare the scanners with it.
absl::StatusOr<std::unique_ptr<Matcher>> MakeEngineMatcher(std::string_view pattern);

// Occurrences of a literal text.
std::unique_ptr<Matcher> MakeLiteralMatcher(std::string_view literal);

// Each numeric character on its own, as the Digits pre-tokenizer sees them.
std::unique_ptr<Matcher> MakeNumericMatcher();

}  // namespace hadal::tokenizer
