// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

namespace hadal::http {

// What the first bytes of a connection say about it.
enum class Protocol {
  kUndecided,  // could still become anything: more bytes are needed
  kHttp2,      // gRPC
  kReserved,   // HTTP/1.1 for health or metrics: served on the reserved thread
  kTls,        // a TLS record
  kHttp1,      // everything else
};

// Identifies the protocol from the bytes that have arrived, without consuming them. Decides as early as possible; needs
// at most kPeekBytes.
Protocol PeekProtocol(std::string_view bytes);
inline constexpr size_t kPeekBytes = 16;

}  // namespace hadal::http
