// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::base {

// Where a text stops being JSON in UTF-8, and why, in words for whoever wrote it: "line 1, column 17: `NaN` is no JSON
// value". Columns count bytes, from 1. Empty for valid JSON, however deep; one value is expected, with nothing behind
// it. At most 32 bytes of the text are repeated, ASCII only. For the path of errors: linear in the text.
std::string DescribeJsonFault(std::string_view json);

// The same text with U+FFFD (\ufffd) in place of each \uXXXX escape that is half a surrogate pair, which no UTF-8 can
// hold. Clients write such halves where they cut a text inside an emoji. As long as the original; all else comes back
// as it was, broken or not.
std::string ReplaceLoneSurrogates(std::string_view json);

}  // namespace hadal::base
