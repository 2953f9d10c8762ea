// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/retry_client.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::sim {

std::optional<absl::Duration> RetryClient::NextTry(const absl::Status& status, int tries,
                                                   std::mt19937_64& random) const {
  if (policy == RetryPolicy::kNone || tries >= max_tries) return std::nullopt;
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  const bool obeys = policy == RetryPolicy::kObey || policy == RetryPolicy::kObeyWhole;
  if (obeys && !detail.should_retry) return std::nullopt;
  const std::optional<absl::Duration> hint = detail.retry_after;
  switch (policy) {
    case RetryPolicy::kNone:
      return std::nullopt;
    case RetryPolicy::kObey:
      return hint;
    case RetryPolicy::kObeyWhole:
      if (!hint.has_value()) return std::nullopt;
      return absl::Ceil(*hint, absl::Seconds(1));
    case RetryPolicy::kBackoff: {
      const double jitter = std::uniform_real_distribution<double>(0.9, 1.1)(random);
      return absl::Seconds(std::min(0.5 * std::exp2(tries - 1) * jitter, 30.0));
    }
    case RetryPolicy::kAtOnce:
      return absl::Milliseconds(10);
  }
  return std::nullopt;
}

absl::StatusOr<RetryPolicy> ParseRetryPolicy(std::string_view name) {
  if (name == "none") return RetryPolicy::kNone;
  if (name == "obey") return RetryPolicy::kObey;
  if (name == "obey-whole") return RetryPolicy::kObeyWhole;
  if (name == "backoff") return RetryPolicy::kBackoff;
  if (name == "at-once") return RetryPolicy::kAtOnce;
  return absl::InvalidArgumentError(
      absl::StrCat("no client \"", base::View(name), "\"; there are none, obey, obey-whole, backoff and at-once"));
}

}  // namespace hadal::sim
