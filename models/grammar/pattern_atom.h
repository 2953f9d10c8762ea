// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::grammar {

// A character, escape or class of a regular expression (ECMA-262), as it is matched inside a JSON string.
struct PatternAtom {
  std::string problem;   // what stands against it; "" when nothing does
  size_t length = 0;     // bytes of the pattern
  std::string compiled;  // the same in ASCII, the only characters that xgrammar 0.2.8 matches with the rules of JSON
  bool wide = false;     // matches most characters, or a large part of another script
};

// What a pattern is matched against.
enum class PatternText : uint8_t { kJsonString, kPlain };

// Reads the atom at the begin of `pattern`, which is valid UTF-8 and not empty. Escapes: \d \D \w \W \s \S, \xHH,
// \uHHHH (pairs of surrogates are one character), \u{H...}, and a backslash before punctuation. Every other letter or
// digit after a backslash is a problem, because the compiler would read \p as a p. Characters that JSON writes escaped
// (quotes, backslashes, controls) cannot be asked for in a JSON string; a class that holds them and others matches the
// rest of it.
PatternAtom ReadPatternAtom(std::string_view pattern, PatternText kind = PatternText::kJsonString);

}  // namespace hadal::grammar
