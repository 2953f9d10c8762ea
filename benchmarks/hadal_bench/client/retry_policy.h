// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/attempt.h"

namespace hadal::bench {

// How a client behaves when it is turned away: one of the kinds of clients that real servers meet. A policy is shared
// by all requests of a run, as gRPC's retry throttle is. Not thread-safe.
class RetryPolicy {
 public:
  virtual ~RetryPolicy() = default;
  // Seconds to wait before the next attempt, or nothing: the client gives up. `attempts` were made so far, 1 or more;
  // `result` is how the last one ended, never kServed.
  virtual std::optional<double> NextDelay(const CallResult& result, int attempts, std::mt19937_64& random) = 0;
  virtual void OnServed() {}
  // Whether it tells the server how often it has tried, as SDKs do (x-stainless-retry-count). Others cannot be told
  // from first attempts.
  virtual bool CountsAttempts() const { return false; }
};

// The client models:
// - none: never returns.
// - obey: returns when told: retry-after-ms, else Retry-After, gRPC's pushback; x-should-retry false ends it. Without a
//   hint: 0.5 s * 2^n up to 8 s, three quarters to all of it. On 408, 409, 429, 5xx and lost connections; 5 attempts.
//   Counts its attempts.
// - urllib3: requests with Retry(total=5, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504]): Retry-After in
//   whole seconds (a fraction raises InvalidHeader and ends it), else 0, 1, 2, 4, 8 s; 6 attempts.
// - backoff: what articles advise for a busy server, on any refusal and whatever the headers say:
//   min(0.5 * 2^n * (1 +- 0.1), 30) s; 5 attempts.
// - text: the same, when the message has 服务器繁忙.
// - immediate: returns at once on any refusal; 5 attempts.
// - grpc: the service config that hadal ships, as gRPC's retry design (A6) defines it: pushback exactly, else a random
//   share of min(0.5 * 2^n, 30) s, and counts its attempts; UNAVAILABLE and RESOURCE_EXHAUSTED (over HTTP 503 and 429);
//   5 attempts; throttle of 100 tokens.
// `max_attempts` above 0 replaces the model's number of attempts. InvalidArgument lists the names.
absl::StatusOr<std::unique_ptr<RetryPolicy>> MakeRetryPolicy(std::string_view model, int max_attempts);
std::vector<std::string> RetryPolicyNames();

// What the server asked for, in seconds, as a client that obeys reads it; nothing when there is no hint.
std::optional<double> HintSeconds(const RetryAdvice& advice);

}  // namespace hadal::bench
