// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace hadal::service {

// Headers by which clients and routers name the session that a request belongs to. They mean nothing to the server,
// which gives them back with its response (over gRPC as trailers), so that a router in front can keep what it knows of
// a session without a table of its own.
inline constexpr std::array<std::string_view, 5> kSessionHeaders = {
    "session-id", "x-session-id", "x-session-token", "x-claude-code-session-id", "x-llm-d-inference-fairness-id"};

// A value that is given back: visible ASCII, and short. Any other is left out.
inline bool IsSessionValue(std::string_view value) {
  constexpr size_t kMaxBytes = 256;
  return !value.empty() && value.size() <= kMaxBytes &&
         std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace hadal::service
