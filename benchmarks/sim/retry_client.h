// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::sim {

// What a caller does when it is refused.
enum class RetryPolicy : uint8_t {
  kNone,       // gives up
  kObey,       // returns after exactly retry-after-ms, unless it is told not to
  kObeyWhole,  // returns after Retry-After, whole seconds, as urllib3 does
  kBackoff,    // ignores the header: 0.5 s x 2^n with 10 % of jitter, at most 30 s
  kAtOnce,     // returns after 10 ms
};

struct RetryClient {
  RetryPolicy policy = RetryPolicy::kNone;
  int max_tries = 5;  // the first one included

  // Time until the next try after try number `tries` (from 1) was refused with `status`; nullopt: the caller gives up.
  std::optional<absl::Duration> NextTry(const absl::Status& status, int tries, std::mt19937_64& random) const;
};

// "none", "obey", "obey-whole", "backoff", "at-once". InvalidArgument names them.
absl::StatusOr<RetryPolicy> ParseRetryPolicy(std::string_view name);

}  // namespace hadal::sim
