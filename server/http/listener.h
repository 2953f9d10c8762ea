// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string_view>

namespace hadal::http {

// What the first bytes of a connection say about it.
enum class FirstBytes {
  kUndecided,  // could still become anything: more bytes are needed
  kHttp2,      // gRPC
  kReserved,   // health or metrics: answered on the reserved thread
  kHttp1,      // everything else
};

// Decides as early as possible; at most 14 bytes are needed.
FirstBytes Classify(std::string_view bytes);
inline constexpr size_t kClassifyBytes = 16;

}  // namespace hadal::http
