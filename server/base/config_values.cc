// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/config.h"
#include "server/base/strings.h"

namespace hadal::base {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

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

std::string NearestName(std::string_view name, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace hadal::base
