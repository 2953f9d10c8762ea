// SPDX-License-Identifier: Apache-2.0
#include "server/base/flag_values.h"

#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::base {

absl::StatusOr<int64_t> ParseInt(std::string_view text, int64_t min, int64_t max) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(View(text), &value) || value < min || value > max) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a whole number from ", min, " to ", max, ", found '", View(text), "'"));
  }
  return value;
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  struct Unit {
    absl::string_view suffix;
    double factor;
  };
  static constexpr std::array<Unit, 9> kUnits = {{{"TiB", 1024.0 * 1024 * 1024 * 1024},
                                                  {"GiB", 1024.0 * 1024 * 1024},
                                                  {"MiB", 1024.0 * 1024},
                                                  {"KiB", 1024.0},
                                                  {"TB", 1e12},
                                                  {"GB", 1e9},
                                                  {"MB", 1e6},
                                                  {"KB", 1e3},
                                                  {"B", 1.0}}};
  absl::string_view number = absl::StripAsciiWhitespace(View(text));
  double factor = 1;
  for (const Unit& unit : kUnits) {
    if (absl::EndsWithIgnoreCase(number, unit.suffix)) {
      factor = unit.factor;
      number = absl::StripTrailingAsciiWhitespace(number.substr(0, number.size() - unit.suffix.size()));
      break;
    }
  }
  double value = 0;
  if (!absl::SimpleAtod(number, &value) || !std::isfinite(value) || value < 0 || value * factor > 9e18) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a size such as 24GiB, 512MB or a number of bytes, found '", View(text), "'"));
  }
  return static_cast<int64_t>(value * factor);
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(View(text), &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(View(text), &duration)) {
    duration = absl::InfiniteDuration();
  }
  if (duration < absl::ZeroDuration() || duration > absl::Hours(24 * 365)) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a duration such as 30s, 500ms or 2m, found '", View(text), "'"));
  }
  return duration;
}

std::string BytesText(int64_t bytes) {
  static constexpr const char* kUnits[] = {"", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, kUnits[unit]);
}

std::string DurationText(absl::Duration duration) {
  // absl::FormatDuration says "1m30s" and "1m0s".
  const int64_t seconds = absl::ToInt64Seconds(duration);
  return duration == absl::Seconds(seconds) ? absl::StrCat(seconds, "s") : absl::FormatDuration(duration);
}

}  // namespace hadal::base
