// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/base/metrics.h"
#include "server/request/request.h"
#include "server/response_cache/response_cache.h"
#include "server/service/degradation_options.h"

namespace hadal::service {

struct PreparedCall;

// The fallback that answered a call for which there was no capacity. Clients see the names in x-hadal-degraded.
enum class Rung : uint8_t {
  kNone,
  kCache,            // "cache": the tokens that the same request got before
  kReasoningEffort,  // "reasoning-effort": no reasoning before the answer, of the low and batch classes
  kMaxTokens,        // "max-tokens": a shorter output than was asked for, of the low and batch classes
  kModel,            // "model": the tokens of another model, which the response names
  kUpstream,         // "upstream": the answer of another server
  kStatic,           // "static": a fixed text
};
std::string_view RungName(Rung rung);

// The fallbacks for calls that would be refused: answers that are worse than requested but preferable to a refusal.
// They are tried in the order of Rung. A client opts out with x-hadal-allow-degraded: 0. Thread-safe.
class Degradation {
 public:
  // `cache`, which records for the first rung, outlives this; null: there is none.
  Degradation(DegradationOptions options, response_cache::ResponseCache* cache);

  // Whether a fallback might answer a call with this refusal and without a ticket: from the cache, or with the fixed
  // text, which comes after the upstreams. (A lower effort, a shorter output and another model need a ticket; upstreams
  // are handled by the front.) Cheap; the body is not needed.
  bool MayAnswer(const absl::Status& refusal, bool upstream_first) const;
  // An answer for a refused call, with its rung: from the cache, else the fixed text. Counted.
  struct Answer {
    Rung rung = Rung::kNone;
    response_cache::RecordedOutput output;
  };
  std::optional<Answer> Find(const PreparedCall& call, const request::Request& request);
  // Whether a chat of that class may be rendered again without reasoning when memory is short for it.
  bool MayLowerEffort(request::Priority priority) const {
    return options_.reasoning_effort && priority >= request::Priority::kLow;
  }
  // Shortens the output of a request for which memory is short; false when the rung is off or does not apply.
  bool Shorten(request::Request* request) const;
  // Of the rung kModel; empty: there is none.
  const std::string& fallback_model() const { return options_.fallback_model; }
  // The key under which to record a call's output; empty if it is not recorded or not reproducible.
  response_cache::CacheKey KeyToRecord(const PreparedCall& call) const;
  void Count(Rung rung) { degraded_.With({std::string(RungName(rung))}).Increment(); }

 private:
  bool records() const { return cache_ != nullptr && cache_->records(); }

  const DegradationOptions options_;
  response_cache::ResponseCache* const cache_;
  base::Family<base::Counter> degraded_;
};

}  // namespace hadal::service
