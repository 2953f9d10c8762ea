// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace hadal::service {

// Headers with which clients and routers identify the session of a request. The server ignores them and returns them
// with its response (over gRPC as trailers), so that a router in front can keep session state without its own table.
inline constexpr std::array<std::string_view, 5> kSessionHeaders = {
    "session-id", "x-session-id", "x-session-token", "x-claude-code-session-id", "x-llm-d-inference-fairness-id"};

// A value that is given back: visible ASCII, and short. Any other is left out.
inline bool IsSessionValue(std::string_view value) {
  constexpr size_t kMaxBytes = 256;
  return !value.empty() && value.size() <= kMaxBytes &&
         std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace hadal::service
