// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/cache_control.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::response_cache {
namespace {

using Mode = CacheControl::Mode;

// How much of a directive that nobody knows is repeated to its sender.
constexpr size_t kShownBytes = 64;

Mode ModeOf(absl::string_view directive) {
  if (directive == "use") return Mode::kUse;
  if (directive == "no-cache") return Mode::kRefresh;
  if (directive == "only-if-cached") return Mode::kOnly;
  if (directive == "no-store") return Mode::kNoStore;
  return Mode::kOff;
}

// The one that wins comes last.
int RankOf(Mode mode) {
  switch (mode) {
    case Mode::kOff:
      return 0;
    case Mode::kUse:
      return 1;
    case Mode::kOnly:
      return 2;
    case Mode::kRefresh:
      return 3;
    case Mode::kNoStore:
      return 4;
  }
  return 0;
}

}  // namespace

absl::StatusOr<CacheControl> ParseCacheControl(std::string_view header) {
  CacheControl control;
  if (header.empty()) return control;  // most requests have none
  for (absl::string_view part : absl::StrSplit(base::View(header), ',')) {
    const std::string directive = absl::AsciiStrToLower(absl::StripAsciiWhitespace(part));
    if (directive.empty()) continue;
    Mode mode = ModeOf(directive);
    absl::string_view value = directive;
    if (absl::ConsumePrefix(&value, "max-age=")) {
      uint32_t seconds = 0;
      if (absl::SimpleAtoi(value, &seconds)) {
        mode = Mode::kUse;
        control.max_age = std::min(control.max_age, absl::Seconds(seconds));
      }
    }
    if (mode == Mode::kOff) {
      return request::MakeError(
          request::Reason::kOutOfRange,
          absl::StrCat("x-hadal-cache: expected use, max-age=SECONDS, no-cache, only-if-cached or no-store, found '",
                       directive.substr(0, kShownBytes), "'"),
          "x-hadal-cache");
    }
    if (RankOf(mode) > RankOf(control.mode)) control.mode = mode;
  }
  return control;
}

std::string_view CacheResultName(CacheResult result) {
  switch (result) {
    case CacheResult::kNone:
      return "";
    case CacheResult::kHit:
      return "hit";
    case CacheResult::kCoalesced:
      return "coalesced";
    case CacheResult::kMiss:
      return "miss";
    case CacheResult::kBypass:
      return "bypass";
  }
  return "";
}

}  // namespace hadal::response_cache
