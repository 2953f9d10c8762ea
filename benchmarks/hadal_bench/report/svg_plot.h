// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hadal::bench {

// One line of a plot. Points are in order of x; a gap in the data is left out by the caller.
struct PlotSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool markers = false;  // a dot at each point, for few points
};

struct PlotOptions {
  std::string title, x_label, y_label;
  // Positions and texts of the ticks of x; empty: round numbers.
  std::vector<std::pair<double, std::string>> x_ticks;
};

// A line plot as an <svg> element with axes and a legend, without any outside resource. Colours come from the classes
// s0..s7 of PlotStyle. Series without points are left out; with none at all the plot says so.
std::string LinePlot(const PlotOptions& options, const std::vector<PlotSeries>& series);

// CSS of the plots, for the page's <style>.
std::string_view PlotStyle();

// Text for HTML and SVG: & < > " ' are escaped.
std::string Escaped(std::string_view text);

// Round steps that divide [0, max] into about `count` parts, from 0 to the first one at or above max.
std::vector<double> RoundTicks(double max, int count);

}  // namespace hadal::bench
