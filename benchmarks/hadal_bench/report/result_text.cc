// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/result_text.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::bench {
namespace {

using Json = nlohmann::ordered_json;

double Quantile(const Json& latency, double q) {
  for (const Json& pair : latency.at("quantiles")) {
    if (pair.at(0).get<double>() == q) return pair.at(1);
  }
  return 0;
}

void AppendLatency(const char* name, const Json& latency, std::string* out) {
  if (latency.at("count") == 0) return;
  absl::StrAppendFormat(out, "  %-22s", name);
  for (const double q : {0.5, 0.9, 0.99, 1.0}) absl::StrAppendFormat(out, "%12.2f", Quantile(latency, q) * 1000);
  absl::StrAppendFormat(out, "%10d\n", latency.at("count").get<int64_t>());
}

void AppendCounts(const char* title, const Json& counts, std::string* out) {
  if (counts.empty()) return;
  absl::StrAppend(out, title);
  for (const auto& [reason, count] : counts.items()) absl::StrAppend(out, "  ", reason, " ", count.get<int64_t>());
  absl::StrAppend(out, "\n");
}

// Of results that were made before it was reported, and of runs in which nothing was served under load: as many as all.
double ServedAttempts(const Json& metrics) {
  const auto own = metrics.find("attempts_of_served_mean");
  return own != metrics.end() && own->is_number() ? own->get<double>()
                                                  : metrics.at("attempts_per_served_ratio").get<double>();
}

void AppendGroups(const Json& groups, std::string* out) {
  for (const auto& [kind, list] : groups.items()) {
    if (list.size() < 2) continue;
    absl::StrAppendFormat(out, "  by %-19s%12s%12s%12s%14s\n", kind, "offered", "admitted", "in SLO", "TTFT p99 ms");
    for (const Json& group : list) {
      absl::StrAppendFormat(out, "    %-20s%12d%11.1f%%%11.1f%%%14.1f\n", group.at("name").get<std::string>(),
                            group.at("offered").get<int64_t>(), 100 * group.at("admission_ratio").get<double>(),
                            100 * group.at("slo_ratio").get<double>(), 1000 * group.at("ttft_p99_s").get<double>());
    }
  }
}

void AppendRetries(const Json& run, std::string* out) {
  const Json& retry = run.at("retry_after");
  if (retry.at("hints") == 0) return;
  absl::StrAppendFormat(out, "Retry-After: %d hints", retry.at("hints").get<int64_t>());
  if (retry.at("returns") > 0) {
    absl::StrAppendFormat(out, ", %d returns in time, %.1f%% admitted", retry.at("returns").get<int64_t>(),
                          100 * retry.at("returns_admitted_ratio").get<double>());
  }
  if (retry.at("held_promises") > 0) {
    absl::StrAppendFormat(out, ", promises kept %.1f%% of %d",
                          100 * retry.at("held_promises_admitted_ratio").get<double>(),
                          retry.at("held_promises").get<int64_t>());
  }
  if (retry.at("early_returns") > 0) absl::StrAppend(out, ", ", retry.at("early_returns").get<int64_t>(), " too early");
  if (!retry.at("error_ratio_median").is_null()) {
    absl::StrAppendFormat(out, ", median error %.1f%%", 100 * retry.at("error_ratio_median").get<double>());
  }
  if (const int64_t tickets = retry.value("tickets", int64_t{0}); tickets > 0) {
    absl::StrAppend(out, ", ", tickets, " attempts brought their ticket");
  }
  absl::StrAppend(out, "\n");
}

// What only the server can know, where it tells.
void AppendServerReported(const Json& run, std::string* out) {
  if (!run.contains("server_reported") || run.at("server_reported").is_null()) return;
  const Json& server = run.at("server_reported");
  if (server.at("refusals_followed") == 0) return;
  absl::StrAppendFormat(out,
                        "by its own account (warm-up included) the server could have served %d of %d refusals (%.1f%%)",
                        server.at("false_refusals").get<int64_t>(), server.at("refusals_followed").get<int64_t>(),
                        100 * server.at("false_refusals_ratio").get<double>());
  if (!server.at("estimate_error_ratio_median").is_null()) {
    absl::StrAppendFormat(out, ", and its estimated waits were off by %.1f%% (median of %d)",
                          100 * server.at("estimate_error_ratio_median").get<double>(),
                          server.at("estimates").get<int64_t>());
  }
  absl::StrAppend(out, "\n");
}

void AppendWarnings(const Json& run, std::string* out) {
  const Json& metrics = run.at("metrics");
  const auto warn = [&](const std::string& text) { absl::StrAppend(out, "warning: ", text, "\n"); };
  const double lag_ms = 1000 * metrics.at("generator_lag_p99_s").get<double>();
  if (lag_ms > 1) {
    warn(absl::StrFormat(
        "the generator began requests up to %.1f ms late (p99): latencies contain that; use a faster or idle machine",
        lag_ms));
  }
  if (metrics.at("generator_cpu_ratio").get<double>() > 0.8)
    warn("the generator used most of a core: it may be the limit");
  if (run.at("generator").at("connection_waits") > 0) {
    warn(absl::StrCat(run.at("generator").at("connection_waits").get<int64_t>(),
                      " calls waited for a connection: raise --max-connections"));
  }
  const Json& tokens = run.at("tokens");
  if (tokens.at("requests_without_usage") > 0)
    warn("the server reported no usage: token counts are pieces of text, not tokens");
  const int64_t output = tokens.at("output"), planned = tokens.at("planned_output");
  if (!tokens.at("exact_length").get<bool>()) {
    warn("answers end where the model ends them: output lengths are not the planned ones");
  } else if (tokens.at("requests_without_usage") == 0 &&
             static_cast<double>(output) < 0.98 * static_cast<double>(planned)) {
    warn(absl::StrCat("the server ignores ignore_eos: answers have ", output, " of ", planned, " planned tokens"));
  }
  if (tokens.at("cut_lengths") > 0)
    warn(absl::StrCat(tokens.at("cut_lengths").get<int64_t>(), " lengths were cut to the limits"));
  if (run.at("measured_s") < 120)
    warn("measured for less than 120 s: good for a first look, not for a published figure");
  if (run.at("requests").at("offered") < 100) warn("fewer than 100 requests: p99 is the largest value");
}

}  // namespace

std::string RunText(const Json& run) {
  const Json &metrics = run.at("metrics"), &requests = run.at("requests");
  std::string out;
  if (run.at("interrupted").get<bool>()) absl::StrAppend(&out, "interrupted: this is what was measured until then\n");
  absl::StrAppendFormat(&out,
                        "requests  offered %d  served %d  refused %d  failed %d  unfinished %d   (%.1f s measured, %d "
                        "in the warm-up left out)\n",
                        requests.at("offered").get<int64_t>(), requests.at("served").get<int64_t>(),
                        requests.at("refused").get<int64_t>(), requests.at("failed").get<int64_t>(),
                        requests.at("unfinished").get<int64_t>(), run.at("measured_s").get<double>(),
                        run.at("warmup").at("requests").get<int64_t>());
  absl::StrAppendFormat(&out, "rate      offered %.2f/s  completed %.2f/s  output %.1f tok/s",
                        metrics.at("offered_requests_per_s").get<double>(),
                        metrics.at("completed_requests_per_s").get<double>(),
                        metrics.at("output_tokens_per_s").get<double>());
  if (!metrics.at("attempts_per_served_ratio").is_null()) {
    absl::StrAppendFormat(&out, "  attempts per served request %.2f, of served ones alone %.2f",
                          metrics.at("attempts_per_served_ratio").get<double>(), ServedAttempts(metrics));
  }
  absl::StrAppend(&out, "\n");
  for (const Json& goodput : run.at("goodput")) {
    absl::StrAppendFormat(&out, "goodput   %s: %.2f requests/s, %.1f tok/s, %.1f%% of the offered requests\n",
                          goodput.at("slo").get<std::string>(), goodput.at("requests_per_s").get<double>(),
                          goodput.at("tokens_per_s").get<double>(), 100 * goodput.at("offered_ratio").get<double>());
  }
  absl::StrAppendFormat(&out, "  %-22s%12s%12s%12s%12s%10s\n", "milliseconds", "p50", "p90", "p99", "max", "count");
  const Json& latency = run.at("latency");
  AppendLatency("TTFT from schedule", latency.at("ttft_s"), &out);
  if (metrics.at("attempts_per_served_ratio") != 1)
    AppendLatency("TTFT of last attempt", latency.at("attempt_ttft_s"), &out);
  AppendLatency("ITL", latency.at("itl_s"), &out);
  AppendLatency("TPOT", latency.at("tpot_s"), &out);
  AppendLatency("end to end", latency.at("e2e_s"), &out);
  AppendLatency("refusal", latency.at("refusal_s"), &out);
  AppendLatency("generator lag", run.at("generator").at("lag_s"), &out);
  AppendGroups(run.at("groups"), &out);
  AppendCounts("refusals by reason:", run.at("refusals"), &out);
  AppendCounts("failures by reason:", run.at("failures"), &out);
  for (const auto& [reason, message] : run.at("messages").items()) {
    if (run.at("failures").contains(reason))
      absl::StrAppend(&out, "  ", reason, ": ", message.get<std::string>(), "\n");
  }
  AppendRetries(run, &out);
  AppendServerReported(run, &out);
  AppendWarnings(run, &out);
  return out;
}

}  // namespace hadal::bench
