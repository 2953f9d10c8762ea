// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::batches {

// What one line of a batch's input asks for.
struct InputLine {
  std::string custom_id;
  std::string body;  // the request's JSON object, as it stands in the line
};

// Longest custom_id.
inline constexpr size_t kMaxCustomIdBytes = 512;

// Reads {"custom_id", "method": "POST", "url": `endpoint`, "body": {...}}. INVALID_ARGUMENT begins with "line N: " and
// names the field.
absl::StatusOr<InputLine> ParseInputLine(std::string_view text, int64_t number, std::string_view endpoint);

}  // namespace hadal::batches
