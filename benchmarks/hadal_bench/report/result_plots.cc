// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/result_plots.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "benchmarks/hadal_bench/report/svg_plot.h"

namespace hadal::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string Label(const NamedResult& result, const char* what, size_t results) {
  if (results == 1) return what;
  return *what == '\0' ? result.label : absl::StrCat(result.label, " ", what);
}

// Percentiles as "nines", so that the tail has room: p90 at 1, p99 at 2, p99.9 at 3.
double Nines(double q) { return -std::log10(1 - std::min(q, 0.9995)); }

const std::vector<std::pair<double, std::string>>& NineTicks() {
  static const auto* const ticks = new std::vector<std::pair<double, std::string>>{
      {Nines(0.0), "p0"}, {Nines(0.5), "p50"}, {Nines(0.9), "p90"}, {Nines(0.99), "p99"}, {Nines(0.999), "p99.9"}};
  return *ticks;
}

struct Line {
  const char* field;
  const char* name;
  double scale;
};

std::string SeriesPlot(const std::vector<NamedResult>& results, const char* title, const char* unit,
                       const std::vector<Line>& lines) {
  std::vector<PlotSeries> series;
  for (const NamedResult& result : results) {
    for (const Line& line : lines) {
      PlotSeries one{.name = Label(result, line.name, results.size())};
      for (const Json& window : (*result.file).at("runs").at(0).at("windows")) {
        if (window.at(line.field).is_number())
          one.points.emplace_back(window.at("from_s"), window.at(line.field).get<double>() * line.scale);
      }
      series.push_back(std::move(one));
    }
  }
  return LinePlot({.title = title, .x_label = "seconds of the run", .y_label = unit}, series);
}

std::string RatePlot(const std::vector<NamedResult>& results, const char* title, const char* unit,
                     const std::vector<Line>& lines) {
  std::vector<PlotSeries> series;
  for (const NamedResult& result : results) {
    for (const Line& line : lines) {
      PlotSeries one{.name = Label(result, line.name, results.size()), .markers = true};
      for (const Json& run : (*result.file).at("runs")) {
        const Json& metrics = run.at("metrics");
        if (!metrics.contains(line.field) || !metrics.at(line.field).is_number()) continue;
        one.points.emplace_back(metrics.at("offered_requests_per_s"),
                                metrics.at(line.field).get<double>() * line.scale);
      }
      std::sort(one.points.begin(), one.points.end());
      series.push_back(std::move(one));
    }
  }
  return LinePlot({.title = title, .x_label = "offered requests a second", .y_label = unit}, series);
}

}  // namespace

std::string PercentilePlots(const std::vector<NamedResult>& results) {
  std::string out;
  for (const auto& [field, title] :
       {std::pair("ttft_s", "TTFT from the scheduled time"), std::pair("itl_s", "ITL"), std::pair("tpot_s", "TPOT"),
        std::pair("e2e_s", "End to end"), std::pair("refusal_s", "Time to a refusal")}) {
    std::vector<PlotSeries> series;
    for (const NamedResult& result : results) {
      PlotSeries one{.name = Label(result, "", results.size())};
      for (const Json& pair : (*result.file).at("runs").at(0).at("latency").at(field).at("quantiles")) {
        if (pair.at(0) < 1) one.points.emplace_back(Nines(pair.at(0)), pair.at(1).get<double>() * 1000);
      }
      series.push_back(std::move(one));
    }
    out += LinePlot({.title = title, .x_label = "percentile", .y_label = "ms", .x_ticks = NineTicks()}, series);
  }
  return out;
}

std::string TimeSeriesPlots(const std::vector<NamedResult>& results) {
  return SeriesPlot(results, "Requests", "a second", {{"arrivals", "arrivals", 1}, {"served", "served", 1}}) +
         SeriesPlot(results, "Turned away", "a second", {{"refused_attempts", "refused", 1}, {"failed", "failed", 1}}) +
         SeriesPlot(results, "Tokens", "a second",
                    {{"good_tokens", "goodput (in + out)", 1}, {"output_tokens", "output", 1}}) +
         SeriesPlot(results, "TTFT of requests scheduled then", "ms",
                    {{"ttft_p50_s", "p50", 1000}, {"ttft_p99_s", "p99", 1000}});
}

std::string GoodputPlots(const std::vector<NamedResult>& results) {
  return RatePlot(results, "Goodput against offered load", "requests/s",
                  {{"goodput_requests_per_s", "goodput", 1}, {"completed_requests_per_s", "completed", 1}}) +
         RatePlot(results, "Goodput against offered load", "tokens/s",
                  {{"goodput_tokens_per_s", "goodput (in + out)", 1}}) +
         RatePlot(results, "Share of offered requests", "%",
                  {{"slo_ratio", "within SLO", 100}, {"admission_ratio", "admitted", 100}}) +
         RatePlot(results, "TTFT against offered load", "ms",
                  {{"ttft_p50_s", "p50", 1000}, {"ttft_p99_s", "p99", 1000}});
}

}  // namespace hadal::bench
