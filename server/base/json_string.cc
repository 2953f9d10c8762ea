// SPDX-License-Identifier: Apache-2.0
#include "server/base/json_string.h"

#include <cstddef>

namespace hadal::base {

void AppendJsonQuoted(std::string_view text, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') out->push_back('\\');
    if (static_cast<unsigned char>(c) < 0x20) {
      out->append("\\u00").append({kHex[static_cast<size_t>(c) >> 4], kHex[static_cast<size_t>(c) & 15]});
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

}  // namespace hadal::base
