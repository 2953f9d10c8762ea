// SPDX-License-Identifier: Apache-2.0
#include "server/http/listener.h"

#include <algorithm>
#include <array>
#include <utility>

namespace hadal::http {

FirstBytes Classify(std::string_view bytes) {
  constexpr std::array<std::pair<std::string_view, FirstBytes>, 5> kKnown = {{
      {"PRI * HTTP/2.0", FirstBytes::kHttp2},
      {"GET /health", FirstBytes::kReserved},
      {"GET /metrics", FirstBytes::kReserved},
      {"HEAD /health", FirstBytes::kReserved},
      {"HEAD /metrics", FirstBytes::kReserved},
  }};
  for (const auto& [text, kind] : kKnown) {
    const size_t common = std::min(bytes.size(), text.size());
    if (bytes.substr(0, common) != text.substr(0, common)) continue;
    return bytes.size() < text.size() ? FirstBytes::kUndecided : kind;
  }
  return FirstBytes::kHttp1;
}

}  // namespace hadal::http
