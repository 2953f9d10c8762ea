// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::base {

// Appends `text`, which is UTF-8, as a JSON string (RFC 8259): control characters as \u00XX, all else as it is.
void AppendJsonQuoted(std::string_view text, std::string* out);

}  // namespace hadal::base
