// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "models/tokenizer/matcher.h"

namespace hadal::tokenizer {

// A linear scanner for patterns of the form `[prefix]class[quantifier]`: prefix `\s?` or ` ?`, a class such as `\p{L}`,
// `[\r\n]`,
// `[一-龥]` or `[^\s\p{L}]`, quantifier none, `+` or `{1,n}`. Null when the pattern has another form.
std::unique_ptr<Matcher> MakeClassRunMatcher(std::string_view pattern);

}  // namespace hadal::tokenizer
