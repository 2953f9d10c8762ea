// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/result_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "benchmarks/hadal_bench/report/machine.h"

namespace hadal::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchema = 1;
constexpr double kQuantiles[] = {0.01, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50,  0.60,  0.70,
                                 0.75, 0.80, 0.90, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0};

double Rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const double scale = std::pow(10, 6 - static_cast<int>(std::floor(std::log10(std::abs(value)))));
  return std::round(value * scale) / scale;
}

Json LatencyJson(const Histogram& histogram) {
  Json quantiles = Json::array();
  if (histogram.count() > 0) {
    for (const double q : kQuantiles) quantiles.push_back({q, Rounded(histogram.QuantileSeconds(q))});
  }
  return {
      {"count", histogram.count()}, {"mean", Rounded(histogram.MeanSeconds())}, {"quantiles", std::move(quantiles)}};
}

Json GroupJson(const GroupReport& group, double seconds) {
  return {{"name", group.name},
          {"offered", group.offered},
          {"served", group.served},
          {"refused", group.refused},
          {"failed", group.failed},
          {"unfinished", group.unfinished},
          {"attempts", group.attempts},
          {"offered_per_s", Rounded(static_cast<double>(group.offered) / seconds)},
          {"admission_ratio", Rounded(group.AdmissionRatio())},
          {"slo_ratio", Rounded(group.SloRatio())},
          {"ttft_p50_s", Rounded(group.ttft.QuantileSeconds(0.5))},
          {"ttft_p99_s", Rounded(group.ttft.QuantileSeconds(0.99))}};
}

Json GroupsJson(const std::vector<GroupReport>& groups, double seconds) {
  Json out = Json::array();
  for (const GroupReport& group : groups) {
    if (group.offered > 0) out.push_back(GroupJson(group, seconds));
  }
  return out;
}

Json RetryJson(const RetryReport& retry) {
  const auto share = [](int64_t part, int64_t whole) -> Json {
    return whole == 0 ? Json() : Json(Rounded(static_cast<double>(part) / static_cast<double>(whole)));
  };
  return {{"hints", retry.hints},
          {"tickets", retry.tickets},
          {"early_returns", retry.early},
          {"returns_after_load", retry.after_load},
          {"returns", retry.returns},
          {"returns_admitted_ratio", share(retry.returns_admitted, retry.returns)},
          {"held_promises", retry.held},
          {"held_promises_admitted_ratio", share(retry.held_admitted, retry.held)},
          {"late_p50_s", Rounded(retry.late.QuantileSeconds(0.5))},
          {"late_p99_s", Rounded(retry.late.QuantileSeconds(0.99))},
          {"error_ratio_median", retry.errors.empty() ? Json() : Json(Rounded(retry.MedianError()))},
          {"error_samples", retry.errors.size()}};
}

// Null where the server does not tell.
Json ServerJson(const std::optional<ServerMetrics>& server) {
  if (!server) return nullptr;
  const std::optional<double> error = server->MedianError();
  return {{"refusals_followed", server->followed},
          {"false_refusals", server->false_refusals},
          {"false_refusals_ratio", server->followed == 0 ? Json()
                                                         : Json(Rounded(static_cast<double>(server->false_refusals) /
                                                                        static_cast<double>(server->followed)))},
          {"estimates", server->estimates()},
          {"estimate_error_ratio_median", error ? Json(Rounded(*error)) : Json()},
          {"tickets_taken", server->tickets_taken}};
}

Json WindowsJson(const std::vector<WindowReport>& windows) {
  Json out = Json::array();
  for (const WindowReport& window : windows) {
    const auto at = [](const Histogram& h, double q) {
      return h.count() > 0 ? Json(Rounded(h.QuantileSeconds(q))) : Json();
    };
    out.push_back({{"from_s", window.from_s},
                   {"arrivals", window.arrivals},
                   {"attempts", window.attempts},
                   {"served", window.served},
                   {"refused_attempts", window.refused_attempts},
                   {"failed", window.failed},
                   {"output_tokens", window.output_tokens},
                   {"good_tokens", window.good_tokens},
                   {"offered_tokens", window.offered_tokens},
                   {"ttft_p50_s", at(window.ttft, 0.5)},
                   {"ttft_p99_s", at(window.ttft, 0.99)},
                   {"tpot_p50_s", at(window.tpot, 0.5)},
                   {"e2e_p50_s", at(window.e2e, 0.5)}});
  }
  return out;
}

// The texts are of servers: cut anywhere, in any encoding.
Json MessagesJson(const RunLog& log) {
  Json out = Json::object();
  for (const auto& [reason, message] : log.messages) {
    out[reason] = Json::parse(Json(message).dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return out;
}

// The flat numbers that benchmarks/README.md asks for.
Json MetricsJson(const Report& report, const RunLog& log, const Json& retry, const Json& server) {
  const double seconds = std::max(report.measured_s, 1e-9);
  const auto per_s = [&](int64_t count) { return Rounded(static_cast<double>(count) / seconds); };
  Json metrics = {
      {"offered_requests_per_s", per_s(report.all.offered)},
      {"completed_requests_per_s", per_s(report.completed)},
      {"output_tokens_per_s", per_s(report.completed_output_tokens)},
      {"goodput_requests_per_s", per_s(report.goodput.front().requests)},
      {"goodput_tokens_per_s", per_s(report.goodput.front().tokens)},
      {"slo_ratio", Rounded(report.all.SloRatio())},
      {"admission_ratio", Rounded(report.all.AdmissionRatio())},
      {"failed_ratio", Rounded(report.all.offered == 0
                                   ? 0
                                   : static_cast<double>(report.all.failed) / static_cast<double>(report.all.offered))},
      {"attempts_per_served_ratio", report.all.served == 0 ? Json()
                                                           : Json(Rounded(static_cast<double>(report.all.attempts) /
                                                                          static_cast<double>(report.all.served)))},
      {"attempts_of_served_mean", report.all.served_in_load == 0
                                      ? Json()
                                      : Json(Rounded(static_cast<double>(report.all.attempts_of_served_in_load) /
                                                     static_cast<double>(report.all.served_in_load)))}};
  // Only where there is something to compare.
  if (!retry["held_promises_admitted_ratio"].is_null())
    metrics["promises_kept_ratio"] = retry["held_promises_admitted_ratio"];
  if (!retry["error_ratio_median"].is_null()) metrics["retry_after_error_ratio"] = retry["error_ratio_median"];
  if (!server.is_null() && !server["false_refusals_ratio"].is_null())
    metrics["false_refusals_ratio"] = server["false_refusals_ratio"];
  if (!server.is_null() && !server["estimate_error_ratio_median"].is_null())
    metrics["estimate_error_ratio"] = server["estimate_error_ratio_median"];
  const std::pair<const char*, const Histogram*> latencies[] = {{"ttft", &report.ttft},
                                                                {"itl", &report.itl},
                                                                {"tpot", &report.tpot},
                                                                {"e2e", &report.e2e},
                                                                {"refusal", &report.refusal}};
  for (const auto& [name, histogram] : latencies) {
    for (const auto& [label, q] : {std::pair("p50", 0.5), std::pair("p99", 0.99)}) {
      if (histogram->count() > 0)
        metrics[std::string(name) + "_" + label + "_s"] = Rounded(histogram->QuantileSeconds(q));
    }
  }
  metrics["generator_lag_p99_s"] = Rounded(report.lag.QuantileSeconds(0.99));
  metrics["generator_cpu_ratio"] = Rounded(log.cpu_s / std::max(log.ended_s, 1e-9));
  return metrics;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

Json RunToJson(const Report& report, const RunLog& log, const RunFacts& facts) {
  const double seconds = std::max(report.measured_s, 1e-9);
  Json goodput = Json::array();
  for (const GoodputReport& one : report.goodput) {
    goodput.push_back(
        {{"slo", one.slo.Text()},
         {"requests_per_s", Rounded(static_cast<double>(one.requests) / seconds)},
         {"tokens_per_s", Rounded(static_cast<double>(one.tokens) / seconds)},
         {"offered_ratio",
          Rounded(report.all.offered == 0 ? 0
                                          : static_cast<double>(one.met) / static_cast<double>(report.all.offered))}});
  }
  Json groups = {{"length", GroupsJson(report.by_length, seconds)}};
  if (!report.by_class.empty()) groups["priority"] = GroupsJson(report.by_class, seconds);
  const Json retry = RetryJson(report.retry), server = ServerJson(facts.server);
  if (!report.by_tenant.empty()) groups["tenant"] = GroupsJson(report.by_tenant, seconds);
  return {{"rate", Rounded(facts.offered_rate)},
          {"metrics", MetricsJson(report, log, retry, server)},
          {"prompt_salt", facts.prompt_salt},
          {"measured_s", Rounded(report.measured_s)},
          {"interrupted", log.interrupted},
          {"warmup", {{"seconds", log.warmup_s}, {"requests", report.warmup_requests}}},
          {"requests", GroupJson(report.all, seconds)},
          {"groups", std::move(groups)},
          {"refusals", report.refusals},
          {"failures", report.failures},
          {"messages", MessagesJson(log)},
          {"finish_reasons", report.finish_reasons},
          {"latency",
           {{"ttft_s", LatencyJson(report.ttft)},
            {"attempt_ttft_s", LatencyJson(report.attempt_ttft)},
            {"itl_s", LatencyJson(report.itl)},
            {"tpot_s", LatencyJson(report.tpot)},
            {"e2e_s", LatencyJson(report.e2e)},
            {"refusal_s", LatencyJson(report.refusal)}}},
          {"goodput", std::move(goodput)},
          {"retry_after", retry},
          {"server_reported", server},
          {"tokens",
           {{"prompt", report.prompt_tokens},
            {"planned_prompt", report.planned_prompt_tokens},
            {"output", report.output_tokens},
            {"planned_output", report.planned_output_tokens},
            {"cached", report.cached_tokens},
            {"requests_without_usage", report.without_usage},
            {"per_word", Rounded(facts.tokens.per_word)},
            {"per_word_measured", facts.tokens.measured},
            {"exact_length", facts.exact_length},
            {"cut_lengths", facts.cut_lengths}}},
          {"generator",
           {{"lag_s", LatencyJson(report.lag)},
            {"cpu_s", Rounded(log.cpu_s)},
            {"wall_s", Rounded(log.ended_s)},
            {"connection_waits", log.connection_waits}}},
          {"windows", WindowsJson(report.windows)}};
}

Json FileToJson(const FileFacts& facts, std::vector<Json> runs) {
  Json metrics = Json::object();
  if (facts.mode == "run" && !runs.empty()) {
    for (const auto& [name, first] : runs.front()["metrics"].items()) {
      std::vector<double> values;
      for (const Json& run : runs) {
        if (run["metrics"].contains(name) && run["metrics"][name].is_number()) values.push_back(run["metrics"][name]);
      }
      if (values.empty()) continue;
      metrics[name] = Rounded(Median(values));
      if (runs.size() == 1) continue;
      metrics[name + "_min"] = *std::min_element(values.begin(), values.end());
      metrics[name + "_max"] = *std::max_element(values.begin(), values.end());
    }
  }
  return {{"name", "hadal_bench"},
          {"schema", kSchema},
          {"date", facts.date},
          {"commit", BuildCommit()},
          {"machine", MachineJson()},
          {"mode", facts.mode},
          {"server",
           {{"model", facts.model}, {"version", facts.server_version}, {"calibration_calls", facts.calibration_calls}}},
          {"workload", facts.workload},
          {"settings", facts.settings},
          {"metrics", std::move(metrics)},
          {"runs", std::move(runs)}};
}

std::string FileText(const Json& file) {
  std::string text = "{";
  const char* separator = "\n";
  for (const auto& [name, value] : file.items()) {
    text += separator + Json(name).dump() + ": ";
    separator = ",\n";
    if (name != "runs") {
      text += value.dump();
      continue;
    }
    text += '[';
    for (const Json& run : value) {
      text += &run == &value.front() ? "{" : ", {";
      const char* inner = "\n  ";
      for (const auto& [field, content] : run.items()) {
        text += inner + Json(field).dump() + ": " + content.dump();
        inner = ",\n  ";
      }
      text += '}';
    }
    text += ']';
  }
  return text + "\n}\n";
}

}  // namespace hadal::bench
