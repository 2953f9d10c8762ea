// SPDX-License-Identifier: Apache-2.0
#include "server/service/load_report.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::service {
namespace {

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

// Field numbers of orca_load_report.proto.
enum Field : uint8_t { kMem = 2, kRps = 6, kEps = 7, kNamed = 8, kApplication = 9 };
constexpr uint8_t kFixed64 = 1, kLengthDelimited = 2;

char Tag(uint8_t field, uint8_t wire_type) { return static_cast<char>(field << 3 | wire_type); }

void AppendDouble(uint8_t field, double value, std::string* out) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  out->push_back(Tag(field, kFixed64));
  for (int shift = 0; shift < 64; shift += 8) out->push_back(static_cast<char>(bits >> shift));
}

// The fields that have names of their own, in the order of their numbers.
template <typename Function>
void ForEachField(const LoadReport& report, const Function& function) {
  function("mem_utilization", kMem, report.mem_utilization);
  function("rps_fractional", kRps, report.rps_fractional);
  function("eps", kEps, report.eps);
  function("application_utilization", kApplication, report.application_utilization);
}

std::string ToText(const LoadReport& report) {
  std::string text;
  const auto add = [&text](absl::string_view prefix, std::string_view name, double value) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", prefix, base::View(name), "=", value);
  };
  ForEachField(report, [&](std::string_view name, uint8_t, double value) { add("", name, value); });
  for (const auto& [name, value] : report.named_metrics) add("named_metrics.", name, value);
  return text;
}

std::string ToJson(const LoadReport& report) {
  std::string text = "{";
  ForEachField(report, [&](std::string_view name, uint8_t, double value) {
    absl::StrAppend(&text, "\"", base::View(name), "\": ", value, ", ");
  });
  absl::StrAppend(&text, "\"named_metrics\": {");
  const char* separator = "";
  for (const auto& [name, value] : report.named_metrics) {
    absl::StrAppend(&text, separator, "\"", base::View(name), "\": ", value);
    separator = ", ";
  }
  return text + "}}";
}

}  // namespace

LoadReport MakeLoadReport(const Load& load, double served_per_second, double failed_per_second) {
  LoadReport report;
  report.application_utilization =
      std::max(Share(std::max(load.sequences_running, 1), load.sequences_limit), load.kv_cache_usage_ratio) +
      Share(load.requests_waiting, load.queue_limit_requests);
  if (!load.ready) report.application_utilization = std::max(report.application_utilization, 1.0);
  report.mem_utilization = std::min(
      1.0, Share(static_cast<double>(load.memory_committed_bytes), static_cast<double>(load.memory_budget_bytes)));
  report.rps_fractional = served_per_second;
  report.eps = failed_per_second;
  report.named_metrics = {{"kv_cache_usage_perc", load.kv_cache_usage_ratio},
                          {"kv_cache_utilization", load.kv_cache_usage_ratio},
                          {"num_requests_running", load.requests_running},
                          {"num_requests_waiting", load.requests_waiting}};
  if (!load.ready) report.named_metrics.emplace_back("not_ready", 1);
  return report;
}

std::optional<LoadReportFormat> ParseLoadReportFormat(std::string_view name) {
  if (absl::EqualsIgnoreCase(base::View(name), "text")) return LoadReportFormat::kText;
  if (absl::EqualsIgnoreCase(base::View(name), "json")) return LoadReportFormat::kJson;
  if (absl::EqualsIgnoreCase(base::View(name), "bin")) return LoadReportFormat::kBinary;
  return std::nullopt;
}

std::string FormatLoadReport(const LoadReport& report, LoadReportFormat format) {
  switch (format) {
    case LoadReportFormat::kText:
      return absl::StrCat("TEXT ", ToText(report));
    case LoadReportFormat::kJson:
      return absl::StrCat("JSON ", ToJson(report));
    case LoadReportFormat::kBinary:
      return absl::StrCat("BIN ", absl::Base64Escape(SerializeLoadReport(report)));
  }
  return "";
}

std::string SerializeLoadReport(const LoadReport& report) {
  std::string out;
  // proto3 leaves out what is zero.
  ForEachField(report, [&](std::string_view, uint8_t field, double value) {
    if (value != 0) AppendDouble(field, value, &out);
  });
  for (const auto& [name, value] : report.named_metrics) {
    std::string entry = {Tag(1, kLengthDelimited), static_cast<char>(name.size())};
    entry += name;
    AppendDouble(2, value, &entry);
    out.push_back(Tag(kNamed, kLengthDelimited));
    out.push_back(static_cast<char>(entry.size()));  // below 128: names are short
    out += entry;
  }
  return out;
}

}  // namespace hadal::service
