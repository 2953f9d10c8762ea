// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "benchmarks/hadal_bench/report/html_page.h"

namespace hadal::bench {

// The plots of a page, each one or several <svg> elements with all results in them.
std::string PercentilePlots(const std::vector<NamedResult>& results);  // of each result's first run
std::string TimeSeriesPlots(const std::vector<NamedResult>& results);  // of each result's first run
std::string GoodputPlots(const std::vector<NamedResult>& results);     // a point for each run

}  // namespace hadal::bench
