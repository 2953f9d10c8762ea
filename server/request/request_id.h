// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::request {

constexpr size_t kMaxRequestIdBytes = 128;

// Id of a request in logs and responses. `wanted` is what the client sent in x-request-id: it is kept when it has 1 to
// kMaxRequestIdBytes letters, digits or -_.:/ (safe in a log line or a header), else a new one is generated, unique in
// the process and for all practical purposes across processes. Any thread.
std::string RequestIdFor(std::string_view wanted);

}  // namespace hadal::request
