// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/server_metrics.h"

#include <cmath>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

// The number of a sample, whose line ends with it; nothing for what is no count.
std::optional<int64_t> CountOf(absl::string_view line) {
  const size_t space = line.rfind(' ');
  double value = 0;
  if (space == absl::string_view::npos || !absl::SimpleAtod(line.substr(space + 1), &value)) return std::nullopt;
  if (!(value >= 0 && value < 9e15)) return std::nullopt;
  return static_cast<int64_t>(value);
}

// The bound in a bucket's labels: le="0.05".
std::optional<double> BoundOf(absl::string_view line) {
  constexpr absl::string_view kLabel = "le=\"";
  const size_t at = line.find(kLabel);
  if (at == absl::string_view::npos) return std::nullopt;
  const absl::string_view text = line.substr(at + kLabel.size());
  double bound = 0;
  if (!absl::SimpleAtod(text.substr(0, text.find('"')), &bound) || std::isnan(bound)) return std::nullopt;
  return bound;
}

}  // namespace

std::optional<double> ServerMetrics::MedianError() const {
  const double half = static_cast<double>(estimates()) / 2;
  if (half == 0) return std::nullopt;
  double low = 0;
  int64_t below = 0;
  for (const Bucket& bucket : errors) {
    if (static_cast<double>(bucket.count) < half) {
      low = bucket.bound;
      below = bucket.count;
      continue;
    }
    if (!std::isfinite(bucket.bound)) return low;  // above all bounds: at least the last
    return low + (bucket.bound - low) * (half - static_cast<double>(below)) / static_cast<double>(bucket.count - below);
  }
  return std::nullopt;
}

std::optional<ServerMetrics> ParseServerMetrics(std::string_view exposition) {
  ServerMetrics metrics;
  std::map<double, int64_t> errors;
  bool found = false;
  for (const absl::string_view line : absl::StrSplit(base::View(exposition), '\n')) {
    const std::optional<int64_t> count = CountOf(line);
    if (!count) continue;
    if (absl::StartsWith(line, "hadal_retry_ghosts_total ")) {
      metrics.followed = *count;
      found = true;
    } else if (absl::StartsWith(line, "hadal_false_refusals_total ")) {
      metrics.false_refusals = *count;
    } else if (absl::StartsWith(line, "hadal_retry_tickets_total{outcome=\"accepted\"}")) {
      metrics.tickets_taken = *count;
    } else if (absl::StartsWith(line, "hadal_retry_after_error_ratio_bucket{")) {
      if (const std::optional<double> bound = BoundOf(line)) errors[*bound] += *count;
    }
  }
  if (!found) return std::nullopt;
  for (const auto& [bound, count] : errors) metrics.errors.push_back({bound, count});
  return metrics;
}

std::optional<ServerMetrics> MetricsBetween(const ServerMetrics& before, const ServerMetrics& after) {
  if (before.errors.size() != after.errors.size()) return std::nullopt;
  ServerMetrics between = after;
  between.followed -= before.followed;
  between.false_refusals -= before.false_refusals;
  between.tickets_taken -= before.tickets_taken;
  bool went_back = between.followed < 0 || between.false_refusals < 0 || between.tickets_taken < 0;
  for (size_t i = 0; i < between.errors.size(); ++i) {
    between.errors[i].count -= before.errors[i].count;
    went_back = went_back || between.errors[i].count < 0;
  }
  if (went_back) return std::nullopt;
  return between;
}

}  // namespace hadal::bench
