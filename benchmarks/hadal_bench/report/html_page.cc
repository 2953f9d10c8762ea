// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/html_page.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "benchmarks/hadal_bench/report/result_plots.h"
#include "benchmarks/hadal_bench/report/result_text.h"
#include "benchmarks/hadal_bench/report/svg_plot.h"

namespace hadal::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kStyle[] =
    "body{font:15px/1.5 system-ui,sans-serif;margin:24px auto;max-width:1320px;padding:0 16px;color:#222}"
    "h1{font-size:22px}h2{font-size:17px;margin-top:32px}table{border-collapse:collapse;margin:8px 0}"
    "td,th{padding:3px 12px 3px 0;text-align:right;border-bottom:1px solid #eee;font-variant-numeric:tabular-nums}"
    "td:first-child,th:first-child{text-align:left}.real{font-weight:600}.note{color:#666;max-width:75ch}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:14px}"
    "pre{background:#f6f6f6;padding:10px;overflow-x:auto;font-size:13px}";

std::string PlainText(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// A row for each fact, a column for each result.
template <typename Cell>
void AppendRow(std::string_view name, const std::vector<NamedResult>& results, const Cell& cell, std::string* out) {
  absl::StrAppend(out, "<tr><td>", Escaped(name), "</td>");
  for (const NamedResult& result : results) absl::StrAppend(out, "<td>", Escaped(cell(*result.file)), "</td>");
  absl::StrAppend(out, "</tr>\n");
}

void AppendHeader(const std::vector<NamedResult>& results, std::string* out) {
  absl::StrAppend(out, "<table><tr><th></th>");
  for (const NamedResult& result : results) absl::StrAppend(out, "<th>", Escaped(result.label), "</th>");
  absl::StrAppend(out, "</tr>\n");
}

void AppendFacts(const std::vector<NamedResult>& results, std::string* out) {
  AppendHeader(results, out);
  AppendRow(
      "model", results, [](const Json& file) { return PlainText(file.at("server").at("model")); }, out);
  AppendRow(
      "server's version", results, [](const Json& file) { return PlainText(file.at("server").at("version")); }, out);
  AppendRow(
      "workload", results, [](const Json& file) { return PlainText(file.at("workload")); }, out);
  AppendRow(
      "load", results,
      [](const Json& file) {
        const Json& settings = file.at("settings");
        const auto of = [&](const char* flag) { return PlainText(settings.value(flag, Json(""))); };
        if (of("trace") != "" && of("trace") != "none") return absl::StrCat(of("trace-speed"), " times as fast");
        const bool curve = file.at("mode") != "run";
        return absl::StrCat(curve ? "" : absl::StrCat(of("rate"), " requests/s, "), of("arrivals"), " arrivals",
                            of("arrivals") == "gamma" ? absl::StrCat(" of CV ", of("cv")) : "", ", seed ", of("seed"),
                            ", clients: ", of("client"));
      },
      out);
  AppendRow(
      "service level", results,
      [](const Json& file) { return PlainText(file.at("runs").at(0).at("goodput").at(0).at("slo")); }, out);
  AppendRow(
      "date", results, [](const Json& file) { return PlainText(file.at("date")); }, out);
  AppendRow(
      "commit of hadal-bench", results, [](const Json& file) { return PlainText(file.at("commit")); }, out);
  AppendRow(
      "generator's machine", results,
      [](const Json& file) {
        const Json& machine = file.at("machine");
        return absl::StrCat(PlainText(machine.at("cpu")), ", ", machine.at("cores").dump(), " cores, load ",
                            machine.at("load_average").dump());
      },
      out);
  AppendRow(
      "runs", results,
      [](const Json& file) {
        return absl::StrCat(file.at("runs").size(), " x ", file.at("runs").at(0).at("measured_s").dump(),
                            " s measured, ", file.at("runs").at(0).at("warmup").at("seconds").dump(),
                            " s warm-up left out");
      },
      out);
  absl::StrAppend(out, "</table>\n");
}

// The medians of the file, with the change and its interval where two are compared.
void AppendMetrics(const std::vector<NamedResult>& results, const Comparison* comparison, std::string* out) {
  if (comparison == nullptr) {
    AppendHeader(results, out);
    for (const auto& [name, value] : (*results.front().file).at("metrics").items()) {
      const std::string key = name;
      AppendRow(
          name, results,
          [&key](const Json& file) {
            return file.at("metrics").contains(key) ? file.at("metrics").at(key).dump() : "";
          },
          out);
    }
    absl::StrAppend(out, "</table>\n");
    return;
  }
  absl::StrAppend(out, "<table><tr><th></th><th>A</th><th>B</th><th>change</th><th>95 % interval</th></tr>\n");
  for (const Difference& one : comparison->differences) {
    absl::StrAppendFormat(out, "<tr%s><td>%s</td><td>%.6g</td><td>%.6g</td><td>%s</td><td>",
                          one.real() ? " class=\"real\"" : "", Escaped(one.metric), one.a, one.b,
                          one.from_zero() ? "from 0" : absl::StrFormat("%+.1f %%", 100 * one.change));
    if (one.has_interval) absl::StrAppendFormat(out, "%+.1f %% .. %+.1f %%", 100 * one.low, 100 * one.high);
    absl::StrAppend(out, "</td></tr>\n");
  }
  absl::StrAppend(out, "</table>\n<p class=\"note\">Bold: the interval leaves out no change. ",
                  Escaped(comparison->method), ".</p>\n");
  for (const std::string& warning : comparison->warnings)
    absl::StrAppend(out, "<p class=\"note\">Warning: ", Escaped(warning), "</p>\n");
}

void AppendPlots(const char* title, const char* note, const std::string& plots, std::string* out) {
  absl::StrAppend(out, "<h2>", title, "</h2>\n<p class=\"note\">", note, "</p>\n<div class=\"plots\">\n", plots,
                  "</div>\n");
}

void AppendSettings(const std::vector<NamedResult>& results, std::string* out) {
  absl::StrAppend(out, "<h2>Flags</h2>\n");
  AppendHeader(results, out);
  for (const auto& [name, value] : (*results.front().file).at("settings").items()) {
    const std::string key = name;
    AppendRow(
        absl::StrCat("--", name), results,
        [&key](const Json& file) {
          return file.at("settings").contains(key) ? PlainText(file.at("settings").at(key)) : "";
        },
        out);
  }
  absl::StrAppend(out, "</table>\n");
}

}  // namespace

std::string HtmlPage(const std::vector<NamedResult>& results, const Comparison* comparison) {
  std::string title = "hadal-bench";
  for (const NamedResult& result : results)
    absl::StrAppend(&title, " · ", PlainText((*result.file).at("server").at("model")));
  std::string out = absl::StrCat("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>",
                                 Escaped(title), "</title><style>", kStyle, std::string(PlotStyle()),
                                 "</style></head><body>\n<h1>", Escaped(title), "</h1>\n");
  AppendFacts(results, &out);
  absl::StrAppend(&out, "<h2>Figures</h2>\n");
  AppendMetrics(results, comparison, &out);
  if ((*results.front().file).at("runs").size() > 1) {
    AppendPlots("Load",
                "Each dot is a run. A healthy server's goodput rises to its capacity and stays there; one that "
                "collapses comes down again.",
                GoodputPlots(results), &out);
  }
  AppendPlots("Percentiles",
              "Of the first run. Served requests only: read them beside the shares that were refused and failed. The "
              "tail has half of the axis.",
              PercentilePlots(results), &out);
  AppendPlots("Over time",
              "Of the first run, warm-up and drain included. Requests count when they end; TTFT by the second of the "
              "scheduled time.",
              TimeSeriesPlots(results), &out);
  absl::StrAppend(&out, "<h2>Each run</h2>\n");
  for (const NamedResult& result : results) {
    for (const Json& run : (*result.file).at("runs"))
      absl::StrAppend(&out, "<pre>", Escaped(result.label), "\n", Escaped(RunText(run)), "</pre>\n");
  }
  AppendSettings(results, &out);
  return out + "</body></html>\n";
}

}  // namespace hadal::bench
