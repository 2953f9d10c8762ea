// SPDX-License-Identifier: Apache-2.0
#include "server/http/protocol_sniffer.h"

#include <algorithm>
#include <array>
#include <utility>

namespace hadal::http {

Protocol PeekProtocol(std::string_view bytes) {
  constexpr std::array<std::pair<std::string_view, Protocol>, 5> kKnown = {{
      {"PRI * HTTP/2.0", Protocol::kHttp2},
      {"GET /health", Protocol::kReserved},
      {"GET /metrics", Protocol::kReserved},
      {"HEAD /health", Protocol::kReserved},
      {"HEAD /metrics", Protocol::kReserved},
  }};
  // A handshake record, and its version's first byte; no request begins like that.
  constexpr std::string_view kTlsRecord = "\x16\x03";
  if (bytes.substr(0, kTlsRecord.size()) == kTlsRecord.substr(0, bytes.size()) && !bytes.empty()) {
    return bytes.size() < kTlsRecord.size() ? Protocol::kUndecided : Protocol::kTls;
  }
  for (const auto& [text, kind] : kKnown) {
    const size_t common = std::min(bytes.size(), text.size());
    if (bytes.substr(0, common) != text.substr(0, common)) continue;
    return bytes.size() < text.size() ? Protocol::kUndecided : kind;
  }
  return Protocol::kHttp1;
}

}  // namespace hadal::http
