// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/hadal_bench/report/compare.h"

namespace hadal::bench {

// A result file and what the page calls it: its name, or A and B.
struct NamedResult {
  std::string label;
  const nlohmann::ordered_json* file;  // borrowed
};

// One self-contained HTML page about one result or several side by side: facts, figures, percentiles, time series, and
// goodput against offered load. Plots are inline SVG; nothing is loaded from anywhere and there is no script.
// `comparison` may be null.
std::string HtmlPage(const std::vector<NamedResult>& results, const Comparison* comparison);

}  // namespace hadal::bench
