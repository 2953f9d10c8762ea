// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::base {

// Texts of flag values and back. Errors are InvalidArgument and say what is accepted and what was found.

// A decimal number from `min` to `max`.
absl::StatusOr<int64_t> ParseInt(std::string_view text, int64_t min, int64_t max);
// "24GiB", "512MB", "1000000": bytes.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);
// "30s", "500ms", "2m"; a plain number is seconds.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// In the largest unit that divides the value: "64MiB", "90s", "500ms".
std::string BytesText(int64_t bytes);
std::string DurationText(absl::Duration duration);

}  // namespace hadal::base
