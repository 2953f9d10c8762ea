// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::response_cache {

// A request's use of the response cache, from its header x-hadal-cache: directives of RFC 9111, section 5.2.1, plus
// "use". Without the header the cache is not involved.
struct CacheControl {
  enum class Mode : uint8_t {
    kOff,      // nothing was said
    kUse,      // "use", "max-age": an answer that is there, else the new one is stored
    kRefresh,  // "no-cache": a new answer, which is stored
    kOnly,     // "only-if-cached": an answer that is there, or none
    kNoStore,  // "no-store": nothing is read or stored, for the degradation ladder either
  };
  Mode mode = Mode::kOff;
  absl::Duration max_age = absl::InfiniteDuration();  // of an answer that is there

  // It asks for the cache in one way or another.
  bool asks() const { return mode != Mode::kOff && mode != Mode::kNoStore; }
  bool reads() const { return mode == Mode::kUse || mode == Mode::kOnly; }
};

// Several directives are separated by commas; no-store wins over no-cache, that over only-if-cached. An empty value is
// kOff. OUT_OF_RANGE, which names the header, for a directive that is none of the above.
absl::StatusOr<CacheControl> ParseCacheControl(std::string_view header);

// The result of such a request, as in x-hadal-cache of its response. Ordered: for several calls in one request the
// largest value is reported.
enum class CacheResult : uint8_t {
  kNone,       // it did not ask
  kHit,        // "hit": the answer was there
  kCoalesced,  // "coalesced": an equal request was being answered, and this one was answered with it
  kMiss,       // "miss": it ran
  kBypass,     // "bypass": it ran, and its answer may differ the next time, so it is never stored
};
// Empty for kNone.
std::string_view CacheResultName(CacheResult result);

}  // namespace hadal::response_cache
