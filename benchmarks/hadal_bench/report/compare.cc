// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/compare.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kRunsForIntervals = 3, kRunsForPairs = 5,  // pairs have half the degrees of freedom
    kBlocksForIntervals = 5, kWindowsPerBlock = 5;

double MeanOf(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// The square of the standard error of a mean.
double ErrorOfMean(const std::vector<double>& values) {
  const double mean = MeanOf(values), n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum / (n - 1) / n;
}

// 0.975 quantile of Student's t, between the degrees of freedom of the table by their inverse (within 1 % from 2 on).
double StudentT(double freedom) {
  static constexpr std::pair<double, double> kTable[] = {{1, 12.706}, {2, 4.303},  {3, 3.182},   {4, 2.776},
                                                         {5, 2.571},  {6, 2.447},  {8, 2.306},   {10, 2.228},
                                                         {15, 2.131}, {30, 2.042}, {100, 1.984}, {1e9, 1.960}};
  const double x = std::clamp(freedom, 1.0, 1e9);
  const auto* const upper =
      std::find_if(std::begin(kTable) + 1, std::end(kTable) - 1, [&](const auto& row) { return row.first >= x; });
  const auto [low, t_low] = *(upper - 1);
  const auto [high, t_high] = *upper;
  return t_high + (t_low - t_high) * (1 / x - 1 / high) / (1 / low - 1 / high);
}

// A metric's value in each run.
std::vector<double> OverRuns(const Json& file, const std::string& metric) {
  std::vector<double> values;
  for (const Json& run : file.at("runs")) {
    const Json& metrics = run.at("metrics");
    if (metrics.contains(metric) && metrics.at(metric).is_number()) values.push_back(metrics.at(metric));
  }
  return values;
}

// A window field's mean in each block of measured windows; neighbouring seconds are alike, so they are resampled
// together.
std::vector<double> OverBlocks(const Json& run, const std::string& field) {
  const double from_s = run.at("warmup").at("seconds"), to_s = from_s + run.at("measured_s").get<double>();
  std::vector<double> blocks, block;
  size_t seen = 0;
  for (const Json& window : run.at("windows")) {
    const double at_s = window.at("from_s");
    if (at_s < from_s || at_s + 1 > to_s + 1e-9) continue;
    if (window.at(field).is_number()) block.push_back(window.at(field));
    if (++seen % kWindowsPerBlock != 0) continue;
    if (!block.empty()) blocks.push_back(MeanOf(block));
    block.clear();
  }
  return blocks;
}

// Whether run i of both had the same arrivals and lengths.
bool SameLoads(const Json& a, const Json& b) {
  const auto drawn_alike = [&](const char* flag) {
    return a.at("settings").contains(flag) && b.at("settings").contains(flag) &&
           a.at("settings").at(flag) == b.at("settings").at(flag);
  };
  static constexpr const char* kLoad[] = {
      "rate",   "arrivals", "cv",      "trace",        "trace-speed",       "duration",
      "warmup", "seed",     "lengths", "length-scale", "max-prompt-tokens", "max-output-tokens"};
  return a.at("runs").size() == b.at("runs").size() && std::all_of(std::begin(kLoad), std::end(kLoad), drawn_alike);
}

void CompareMetrics(const Json& a, const Json& b, bool over_runs, bool paired, Comparison* comparison) {
  for (const auto& [metric, value] : a.at("runs").at(0).at("metrics").items()) {
    const std::vector<double> one = OverRuns(a, metric), other = OverRuns(b, metric);
    if (one.empty() || other.empty()) continue;
    Difference difference = ChangeOfMeans(metric, one, other, paired);
    if (!over_runs) difference.has_interval = false;
    comparison->differences.push_back(difference);
  }
}

constexpr std::pair<const char*, const char*> kWindowFields[] = {
    {"served", "served requests a second, mean of windows"},
    {"good_tokens", "goodput tokens a second, mean of windows"},
    {"output_tokens", "output tokens a second, mean of windows"},
    {"ttft_p50_s", "ttft_p50_s, mean of windows"},
    {"ttft_p99_s", "ttft_p99_s, mean of windows"},
    {"tpot_p50_s", "tpot_p50_s, mean of windows"},
    {"e2e_p50_s", "e2e_p50_s, mean of windows"}};

void CompareWindows(const Json& a, const Json& b, Comparison* comparison) {
  for (const auto& [field, name] : kWindowFields) {
    const std::vector<double> one = OverBlocks(a.at("runs").at(0), field),
                              other = OverBlocks(b.at("runs").at(0), field);
    if (one.empty() || other.empty()) continue;
    Difference difference = ChangeOfMeans(name, one, other);
    if (std::min(one.size(), other.size()) < kBlocksForIntervals) difference.has_interval = false;
    comparison->differences.push_back(difference);
  }
}

// What must be equal for a comparison of two servers, or of two settings of one, to mean something.
void WarnOfDifferences(const Json& a, const Json& b, Comparison* comparison) {
  static constexpr const char* kMayDiffer[] = {"url", "json", "html", "model", "progress", "seed", "api-key"};
  for (const auto& [name, value] : a.at("settings").items()) {
    const bool may = std::find(std::begin(kMayDiffer), std::end(kMayDiffer), name) != std::end(kMayDiffer);
    if (may || !b.at("settings").contains(name) || b.at("settings").at(name) == value) continue;
    comparison->warnings.push_back(
        absl::StrCat("--", name, " differs: ", value.dump(), " and ", b.at("settings").at(name).dump()));
  }
  if (a.at("machine").at("cpu") != b.at("machine").at("cpu"))
    comparison->warnings.push_back("the generators ran on different machines");
}

absl::Status Check(const Json& file, const char* which) {
  if (file.is_object() && file.value("name", "") == "hadal_bench" && file.value("schema", 0) == 1 &&
      file.contains("runs") && file.at("runs").is_array() && !file.at("runs").empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the ", which, " file is no result of hadal-bench (name hadal_bench, schema 1, with runs)"));
}

}  // namespace

Difference ChangeOfMeans(std::string metric, const std::vector<double>& a, const std::vector<double>& b, bool paired) {
  Difference difference{.metric = std::move(metric), .a = MeanOf(a), .b = MeanOf(b)};
  if (difference.a == 0) return difference;
  difference.change = difference.b / difference.a - 1;
  if (a.size() < 2 || b.size() < 2) return difference;
  // Of b - r a at the ratio r that was found: what the noise of either side adds, or that of the pairs.
  const double ratio = difference.b / difference.a;
  double error, freedom;
  if (paired && a.size() == b.size()) {
    std::vector<double> rest(a.size());
    for (size_t i = 0; i < a.size(); ++i) rest[i] = b[i] - ratio * a[i];
    error = ErrorOfMean(rest);
    freedom = static_cast<double>(a.size() - 1);
  } else {
    const double of_a = ratio * ratio * ErrorOfMean(a), of_b = ErrorOfMean(b);
    error = of_a + of_b;
    freedom = error * error /
              (of_a * of_a / static_cast<double>(a.size() - 1) + of_b * of_b / static_cast<double>(b.size() - 1));
  }
  const double half = error == 0 ? 0 : StudentT(freedom) * std::sqrt(error) / std::abs(difference.a);
  difference.low = difference.change - half;
  difference.high = difference.change + half;
  difference.has_interval = true;
  return difference;
}

absl::StatusOr<Comparison> CompareResults(const Json& a, const Json& b) {
  for (const auto& [file, which] : {std::pair(&a, "first"), std::pair(&b, "second")}) {
    if (absl::Status status = Check(*file, which); !status.ok()) return status;
  }
  Comparison comparison;
  const bool sweeps = a.at("mode") != "run" || b.at("mode") != "run";
  const bool over_runs = !sweeps && std::min(a.at("runs").size(), b.at("runs").size()) >= kRunsForIntervals;
  if (sweeps) {
    comparison.method = "one point each: no intervals; compare the curves";
    for (const auto& [metric, value] : a.at("metrics").items()) {
      if (!value.is_number() || !b.at("metrics").contains(metric) || !b.at("metrics").at(metric).is_number()) continue;
      comparison.differences.push_back(
          ChangeOfMeans(metric, {value.get<double>()}, {b.at("metrics").at(metric).get<double>()}));
    }
  } else {
    const bool paired = over_runs && a.at("runs").size() >= kRunsForPairs && SameLoads(a, b);
    CompareMetrics(a, b, over_runs, paired, &comparison);
    if (over_runs) {
      comparison.method =
          absl::StrCat("95 % intervals (", paired ? "t of pairs with the same arrivals and lengths" : "Welch's t",
                       ") over ", a.at("runs").size(), " and ", b.at("runs").size(), " runs");
    } else {
      CompareWindows(a, b, &comparison);
      comparison.method =
          "95 % intervals (Welch's t) over blocks of 5 windows of one run each: noise between runs is not in them; "
          "take --runs=5 for that";
    }
  }
  WarnOfDifferences(a, b, &comparison);
  return comparison;
}

std::string ComparisonText(const Comparison& comparison) {
  std::string out = absl::StrFormat("%-46s%14s%14s%10s  %s\n", "", "A", "B", "change", "95 % interval");
  int intervals = 0;
  for (const Difference& one : comparison.differences) {
    absl::StrAppendFormat(&out, "%-46s%14.6g%14.6g", one.metric, one.a, one.b);
    if (one.from_zero()) {
      absl::StrAppendFormat(&out, "%10s", "from 0");
    } else {
      absl::StrAppendFormat(&out, "%+9.1f%%", 100 * one.change);
    }
    intervals += one.has_interval ? 1 : 0;
    if (one.has_interval)
      absl::StrAppendFormat(&out, "  %+.1f%% .. %+.1f%%%s", 100 * one.low, 100 * one.high, one.real() ? "  *" : "");
    absl::StrAppend(&out, "\n");
  }
  absl::StrAppend(&out, "* the interval leaves out no change");
  if (intervals > 0)
    absl::StrAppendFormat(&out, "; of %d such intervals %.1f do by chance", intervals, intervals / 20.0);
  absl::StrAppend(&out, ". ", comparison.method, ".\n");
  for (const std::string& warning : comparison.warnings) absl::StrAppend(&out, "warning: ", warning, "\n");
  return out;
}

}  // namespace hadal::bench
