// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace hadal::http {

// The APIs that clients speak. Each is a decoder from bytes to the common calls and an encoder of their updates; what
// else differs is how errors look (response.h) and what fields are called in them.
enum class Api : uint8_t {
  kOpenAi,     // chat, completions, and all routes without a body
  kAnthropic,  // /v1/messages
  kResponses,  // /v1/responses
  kOllama,     // /api/...
};

// The status with the API's own names of the fields in place of the common call's, in message and detail: `stop`
// becomes `stop_sequences`. Statuses about no field stay as they are.
absl::Status InWordsOf(Api api, const absl::Status& status);

}  // namespace hadal::http
