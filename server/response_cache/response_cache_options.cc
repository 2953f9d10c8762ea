// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/response_cache_options.h"

#include <string_view>

#include "absl/strings/str_cat.h"

namespace hadal::response_cache {
namespace {

// Below that a file holds little but its index.
constexpr int64_t kMinDiskBytes = int64_t{1} << 20;

}  // namespace

std::string ResponseCacheOptions::SecondLevel() const {
  constexpr std::string_view kFirst = "memory,";
  return levels.starts_with(kFirst) ? levels.substr(kFirst.size()) : "";
}

absl::Status ResponseCacheOptions::Validate() const {
  if (!enabled()) return absl::OkStatus();
  const std::string second = SecondLevel();
  const bool known =
      second.empty() || redis::IsRedisUrl(second) || (second.starts_with("sqlite:") && second != "sqlite:");
  if (!known || (levels != "memory" && second.empty())) {
    // What is behind the colon may be a password.
    const std::string shown = levels.substr(0, levels.find(':'));
    return absl::InvalidArgumentError(absl::StrCat(
        "--response-cache is '", shown, "'; expected none, memory, memory,sqlite:PATH or memory,redis[s]://HOST"));
  }
  if (memory_bytes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--response-cache-size is ", memory_bytes, "; --response-cache needs more than 0 bytes"));
  }
  if (second.starts_with("sqlite:") && disk_bytes < kMinDiskBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--response-cache-disk-size is ", disk_bytes, "; it must be at least ", kMinDiskBytes, " bytes"));
  }
  if (lookup_timeout <= absl::ZeroDuration() || lookup_timeout > absl::Seconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat("--response-cache-lookup-timeout is ",
                                                   absl::FormatDuration(lookup_timeout),
                                                   "; it must be above 0 and at most 1s"));
  }
  if (ttl < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--response-cache-ttl is ", absl::FormatDuration(ttl), "; it must not be below 0"));
  }
  return absl::OkStatus();
}

}  // namespace hadal::response_cache
