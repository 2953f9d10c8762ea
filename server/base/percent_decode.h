// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hadal::base {

// `text` with each %XX as the byte it stands for (RFC 3986, section 2.1); nullopt where a % has no two hex digits
// behind it. Bytes that stand for themselves, a + among them, stay. The result may hold any bytes. Thread-safe.
std::optional<std::string> PercentDecode(std::string_view text);

}  // namespace hadal::base
