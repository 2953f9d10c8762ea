// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/slo.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

struct Named {
  const char* name;
  double ttft_s, tpot_s;
};
constexpr Named kSets[] = {{"r1", 2.0, 0.080},  {"r1-interactive", 1.5, 0.015},
                           {"8b", 2.0, 0.100},  {"8b-interactive", 0.5, 0.030},
                           {"70b", 2.0, 0.200}, {"70b-interactive", 0.45, 0.040}};

absl::Status Bad(std::string_view text) {
  std::string names;
  for (const Named& set : kSets) absl::StrAppend(&names, set.name, ", ");
  return absl::InvalidArgumentError(
      absl::StrCat("expected one of ", names, "or limits in milliseconds such as ttft=2000,tpot=80,e2e=30000, found '",
                   base::View(text), "'"));
}

}  // namespace

bool Slo::Met(const RequestRecord& record, bool from_attempt) const {
  if (record.outcome != Outcome::kServed) return false;
  const double from_s = from_attempt ? record.attempts.back().due_s : record.scheduled_s;
  return record.first_content_s - from_s <= ttft_s && record.tpot_s() <= tpot_s && record.end_s - from_s <= e2e_s;
}

std::string Slo::Text() const {
  std::string text;
  const auto add = [&](const char* what, double limit_s) {
    if (limit_s < std::numeric_limits<double>::infinity()) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", what, " ", limit_s * 1000, " ms");
    }
  };
  add("TTFT", ttft_s);
  add("TPOT", tpot_s);
  add("E2E", e2e_s);
  return absl::StrCat(name, " (", text, ")");
}

absl::StatusOr<Slo> ParseSlo(std::string_view text) {
  Slo slo;
  for (const Named& set : kSets) {
    if (text != set.name) continue;
    slo.name = set.name;
    slo.ttft_s = set.ttft_s;
    slo.tpot_s = set.tpot_s;
    return slo;
  }
  slo.name = "custom";
  for (absl::string_view part : absl::StrSplit(base::View(text), ',')) {
    const std::vector<absl::string_view> sides = absl::StrSplit(part, '=');
    double limit_ms;
    if (sides.size() != 2 || !absl::SimpleAtod(sides[1], &limit_ms) || !(limit_ms > 0)) return Bad(text);
    double* const field = sides[0] == "ttft"   ? &slo.ttft_s
                          : sides[0] == "tpot" ? &slo.tpot_s
                          : sides[0] == "e2e"  ? &slo.e2e_s
                                               : nullptr;
    if (field == nullptr) return Bad(text);
    *field = limit_ms / 1000;
  }
  return slo;
}

}  // namespace hadal::bench
