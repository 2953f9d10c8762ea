// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/svg_plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::bench {
namespace {

constexpr double kCharWidth = 7.5;  // of the fonts of a page, at most on average
constexpr double kWidth = 620, kHeight = 260, kLeft = 62, kRight = 26, kTop = 30, kBottom = 44;
constexpr size_t kColours = 8;

std::string Number(double value) {
  if (value >= 1e6) return absl::StrFormat("%gM", value / 1e6);
  if (value >= 1e4) return absl::StrFormat("%gk", value / 1e3);
  return absl::StrFormat("%g", value);
}

class Frame {
 public:
  Frame(double x_min, double x_max, double y_max, double top)
      : x_min_(x_min), x_max_(x_max > x_min ? x_max : x_min + 1), y_max_(y_max), top_(top) {}
  double X(double x) const { return kLeft + (x - x_min_) / (x_max_ - x_min_) * (kWidth - kLeft - kRight); }
  double Y(double y) const { return kHeight - kBottom - y / y_max_ * (kHeight - top_ - kBottom); }
  double x_max() const { return x_max_; }

 private:
  const double x_min_, x_max_, y_max_, top_;
};

// Room for a name in the legend, with the gap in front of it.
double NameWidth(const PlotSeries& series) { return kCharWidth * static_cast<double>(series.name.size()) + 14; }

double LegendWidth(const std::vector<PlotSeries>& all) {
  double width = 0;
  for (const PlotSeries& series : all) width += series.points.empty() ? 0 : NameWidth(series);
  return width;
}

void AppendText(double x, double y, const char* anchor, std::string_view text, std::string* out) {
  absl::StrAppendFormat(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, Escaped(text));
}

void AppendAxes(const PlotOptions& options, const Frame& frame, const std::vector<double>& y_ticks,
                const std::vector<std::pair<double, std::string>>& x_ticks, std::string* out) {
  for (const double tick : y_ticks) {
    absl::StrAppendFormat(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", kLeft,
                          kWidth - kRight, frame.Y(tick), frame.Y(tick));
    AppendText(kLeft - 6, frame.Y(tick) + 4, "end", Number(tick), out);
  }
  for (const auto& [at, text] : x_ticks) AppendText(frame.X(at), kHeight - kBottom + 16, "middle", text, out);
  AppendText((kLeft + kWidth) / 2, kHeight - 8, "middle", options.x_label, out);
  absl::StrAppendFormat(out, "<text class=\"title\" x=\"%.1f\" y=\"16\">%s <tspan class=\"unit\">%s</tspan></text>\n",
                        kLeft, Escaped(options.title), Escaped(options.y_label));
}

void AppendSeries(const PlotSeries& series, size_t colour, const Frame& frame, std::string* out) {
  absl::StrAppendFormat(out, "<polyline class=\"s%d\" points=\"", colour);
  for (const auto& [x, y] : series.points) absl::StrAppendFormat(out, "%.1f,%.1f ", frame.X(x), frame.Y(y));
  absl::StrAppend(out, "\"/>\n");
  if (!series.markers && series.points.size() > 1) return;
  for (const auto& [x, y] : series.points) {
    absl::StrAppendFormat(out, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>%g, %g</title></circle>\n",
                          colour, frame.X(x), frame.Y(y), x, y);
  }
}

}  // namespace

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::vector<double> RoundTicks(double max, int count) {
  if (!(max > 0)) max = 1;
  const double rough = max / count, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
  std::vector<double> ticks;
  for (int i = 0; ticks.empty() || ticks.back() < max * (1 - 1e-9); ++i) ticks.push_back(i * step);
  return ticks;
}

std::string LinePlot(const PlotOptions& options, const std::vector<PlotSeries>& series) {
  double x_min = HUGE_VAL, x_max = -HUGE_VAL, y_max = 0;
  for (const PlotSeries& one : series) {
    for (const auto& [x, y] : one.points) {
      x_min = std::min(x_min, x);
      x_max = std::max(x_max, x);
      y_max = std::max(y_max, y);
    }
  }
  std::string out = absl::StrFormat("<svg viewBox=\"0 0 %g %g\" role=\"img\">\n", kWidth, kHeight);
  if (x_max < x_min) {
    AppendText(kWidth / 2, kHeight / 2, "middle", options.title + ": nothing to show", &out);
    return out + "</svg>\n";
  }
  const std::vector<double> y_ticks = RoundTicks(y_max, 5);
  std::vector<std::pair<double, std::string>> x_ticks = options.x_ticks;
  if (x_ticks.empty()) {
    x_min = std::min(x_min, 0.0);
    for (const double tick : RoundTicks(x_max, 8)) x_ticks.emplace_back(tick, Number(tick));
    x_max = std::max(x_max, x_ticks.back().first);
  } else {
    x_min = std::min(x_min, x_ticks.front().first);
    x_max = std::max(x_max, x_ticks.back().first);
  }
  // A legend that does not fit beside the title has a line of its own.
  const double title_width = kCharWidth * static_cast<double>(options.title.size() + options.y_label.size() + 1);
  const bool crowded = kLeft + title_width + LegendWidth(series) > kWidth - kRight;
  const double legend_y = crowded ? 32 : 16;
  const Frame frame(x_min, x_max, y_ticks.back(), crowded ? kTop + 16 : kTop);
  AppendAxes(options, frame, y_ticks, x_ticks, &out);
  double legend_x = kWidth - kRight;
  for (size_t i = series.size(); i-- > 0;) {
    if (series[i].points.empty()) continue;
    AppendSeries(series[i], i % kColours, frame, &out);
    absl::StrAppendFormat(&out, "<text class=\"s%d\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                          i % kColours, legend_x, legend_y, Escaped(series[i].name));
    legend_x -= NameWidth(series[i]);
  }
  return out + "</svg>\n";
}

std::string_view PlotStyle() {
  return "svg{width:100%;max-width:620px;font:12px system-ui,sans-serif}svg text{fill:#444}svg "
         ".title{font-weight:600;fill:#111}"
         "svg .unit{font-weight:400;fill:#777}svg .grid{stroke:#e4e4e4}svg polyline{fill:none;stroke-width:1.8}"
         ".s0{stroke:#1f6fb4}.s1{stroke:#d1495b}.s2{stroke:#2e8b57}.s3{stroke:#c98a00}.s4{stroke:#7b52ab}.s5{stroke:#"
         "008b8b}"
         ".s6{stroke:#8b4513}.s7{stroke:#666}"
         "svg circle.s0,svg text.s0{fill:#1f6fb4;stroke:none}svg circle.s1,svg text.s1{fill:#d1495b;stroke:none}"
         "svg circle.s2,svg text.s2{fill:#2e8b57;stroke:none}svg circle.s3,svg text.s3{fill:#c98a00;stroke:none}"
         "svg circle.s4,svg text.s4{fill:#7b52ab;stroke:none}svg circle.s5,svg text.s5{fill:#008b8b;stroke:none}"
         "svg circle.s6,svg text.s6{fill:#8b4513;stroke:none}svg circle.s7,svg text.s7{fill:#666;stroke:none}";
}

}  // namespace hadal::bench
