// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "models/tokenizer/matcher.h"

namespace hadal::tokenizer {

// Patterns with a hand-written scanner, by their text in tokenizer.json (with line breaks as \r and \n).
// Third rule of DeepSeek V3, R1, V3.1 and later.
extern const std::string_view kDeepSeekV3Pattern;
// Qwen2 and the distills made from it; single digits.
extern const std::string_view kQwen2Pattern;
// Llama 3 and the distills made from it; up to three digits.
extern const std::string_view kLlama3Pattern;
// The pattern that ByteLevel applies itself when use_regex is true.
extern const std::string_view kGpt2Pattern;
// Fourth rule of deepseek-llm: spaces at the end.
extern const std::string_view kTrailingSpacePattern;

// Null for any other pattern. Time is linear in the text.
std::unique_ptr<Matcher> MakeKnownPatternMatcher(std::string_view pattern);

}  // namespace hadal::tokenizer
