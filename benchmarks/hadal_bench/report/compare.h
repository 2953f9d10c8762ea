// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::bench {

// One number of two result files and how sure its difference is.
struct Difference {
  std::string metric;
  double a = 0, b = 0;
  double change = 0;                                                   // b / a - 1; 0 where a is 0
  double low = 0, high = 0;                                            // 95 % confidence interval of the change
  bool has_interval = false;                                           // false: too few samples
  bool from_zero() const { return a == 0 && b != 0; }                  // no change can be named
  bool real() const { return has_interval && (low > 0 || high < 0); }  // the interval leaves out 0
};

struct Comparison {
  std::string method;  // where the intervals come from, in words
  std::vector<Difference> differences;
  std::vector<std::string> warnings;  // settings that differ besides what may be compared
};

// Compares two result files. With three runs or more on both sides the intervals are over runs; else over blocks of
// the windows of the first run, which hold the noise within one run but not that between runs, and which the
// comparison says. InvalidArgument for files that hadal-bench did not write.
absl::StatusOr<Comparison> CompareResults(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b);

// 95 % interval of mean(b) / mean(a) - 1 by Welch's t, which holds for three samples a side already: a bootstrap of so
// few is too narrow, and calls one pair of equal servers in four different. `paired`: sample i of
// both had the same load, and only what differs within pairs counts. No interval with fewer than two samples a side or
// a mean of 0 in a.
Difference ChangeOfMeans(std::string metric, const std::vector<double>& a, const std::vector<double>& b,
                         bool paired = false);

// A table for the terminal.
std::string ComparisonText(const Comparison& comparison);

}  // namespace hadal::bench
