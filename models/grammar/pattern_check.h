// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal::grammar {

// Characters of one pattern when its repetitions are written out: the compiler gives each of them its own table of
// tokens, up to 128 of them in a row.
inline constexpr int kMaxPatternStates = 128;

struct PatternCheck {
  std::string problem;   // what stands against the pattern; "" when nothing does
  std::string compiled;  // what the compiler gets: the same language, see below
  int states = 0;        // characters, repetitions written out
  // Characters of the shortest and the longest text; infinite without a bound.
  double shortest = 0, longest = 0;
  // The pattern is one character or class, repeated from `shortest` to `longest` times: its repetition without bounds,
  // for a compiler that counts beside it; "" for others. Such a pattern may have any bounds.
  std::string repeated;
  bool needs_counting = false;  // with its bounds written out the pattern would be refused or slow
};

// Whether a JSON Schema "pattern" can be followed exactly. Refused are, besides what the compiler has no rule for
// (look-around, backreferences, word boundaries, \p{..}):
//   - anchors that stand behind or before other text, or are repeated: (a$|b)c, x(^a), (^a)+;
//   - quantifiers that follow nothing or another one, which other dialects read as possessive: a++;
//   - quotes, backslashes and control characters that are meant literally: inside a JSON string they are written
//     escaped, and the pattern is matched against what is written;
//   - backslashes before letters that stand for nothing here (pattern_atom.h);
//   - bounded repetitions of classes that hold most characters, such as .{1,80}, when they are not the whole pattern:
//     each count is a state in which nearly every token of the vocabulary has to be tried.
// A pattern without anchors is followed as if it had both: a text that matches as a whole also contains a match.
//
// xgrammar 0.2.8 accepts too much where ?, + or {n,} follow a group that begins or ends with a repetition: (ab+)? also
// takes "b". Such groups are written in other words: (ab+|), and (X)(X)* for (X)+. A question mark that only makes a
// quantifier lazy is dropped.
PatternCheck CheckPattern(std::string_view pattern);

// The same for a pattern of a whole answer that is text and no JSON: every character may be asked for. Nothing is
// counted beside the compiler, so that bounded repetitions of classes of most characters are always refused.
PatternCheck CheckTextPattern(std::string_view pattern);

// The pattern of a "format" that needs one of its own, because the compiler's is slow or allows too much;
// "" for others.
std::string_view PatternOfFormat(std::string_view format);

// For a format whose texts have no longest one: from wherever a text of it stands, one of these texts completes it, and
// it can also go on by one character. So a text that is to keep to a length is never cut. Empty for other formats.
std::vector<std::string_view> EndingsOfFormat(std::string_view format);

}  // namespace hadal::grammar
