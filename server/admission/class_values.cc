// SPDX-License-Identifier: Apache-2.0
#include "server/admission/class_values.h"

#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/flag_values.h"
#include "server/base/strings.h"

namespace hadal::admission {
namespace {

// -1 when there is no such class.
int RankOf(absl::string_view name) {
  for (int rank = 0; rank < request::kNumPriorities; ++rank) {
    if (name == base::View(request::kPriorityNames[rank])) return rank;
  }
  return -1;
}

}  // namespace

absl::Status ParseClassValues(std::string_view text,
                              const std::function<absl::Status(int rank, std::string_view value)>& set) {
  ByClass<bool> seen = {};
  for (const absl::string_view part : absl::StrSplit(base::View(text), ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> named = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const int rank = RankOf(named.first);
    if (rank < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected CLASS=VALUE of the classes high, normal, low and batch, found '", part, "'"));
    }
    if (seen[rank]) return absl::InvalidArgumentError(absl::StrCat("the class ", named.first, " is named twice"));
    seen[rank] = true;
    if (absl::Status status = set(rank, base::StdView(named.second)); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("class ", named.first, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

std::string ClassValuesText(const ByClass<std::string>& texts) {
  std::string all;
  for (int rank = 0; rank < request::kNumPriorities; ++rank) {
    if (texts[rank].empty()) continue;
    absl::StrAppend(&all, all.empty() ? "" : ",", base::View(request::kPriorityNames[rank]), "=", texts[rank]);
  }
  return all;
}

absl::Status ParseShare(std::string_view text, double* share) {
  double value = 0;
  if (!absl::SimpleAtod(base::View(text), &value) || !(value >= 0 && value <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("expected a share from 0 to 1, found '", base::View(text), "'"));
  }
  *share = value;
  return absl::OkStatus();
}

absl::Status ParseClassShares(std::string_view text, ByClass<double>* shares) {
  ByClass<double> parsed = {};
  absl::Status status =
      ParseClassValues(text, [&](int rank, std::string_view value) { return ParseShare(value, &parsed[rank]); });
  if (!status.ok()) return status;
  const double sum = std::accumulate(parsed.begin(), parsed.end(), 0.0);
  if (sum > 1) return absl::InvalidArgumentError(absl::StrCat("the shares add up to ", sum, ", more than 1"));
  *shares = parsed;
  return absl::OkStatus();
}

std::string ClassSharesText(const ByClass<double>& shares) {
  ByClass<std::string> texts;
  for (int rank = 0; rank < request::kNumPriorities; ++rank) {
    if (shares[rank] > 0) texts[rank] = absl::StrCat(shares[rank]);
  }
  return ClassValuesText(texts);
}

absl::Status ParseClassDurations(std::string_view text, ByClass<absl::Duration>* durations) {
  ByClass<absl::Duration> parsed;
  parsed.fill(absl::InfiniteDuration());
  if (text == "none") text = "";
  absl::Status status = ParseClassValues(text, [&](int rank, std::string_view value) {
    const absl::StatusOr<absl::Duration> duration = base::ParseDuration(value);
    if (duration.ok()) parsed[rank] = *duration;
    return duration.status();
  });
  if (status.ok()) *durations = parsed;
  return status;
}

std::string ClassDurationsText(const ByClass<absl::Duration>& durations) {
  ByClass<std::string> texts;
  for (int rank = 0; rank < request::kNumPriorities; ++rank) {
    if (durations[rank] != absl::InfiniteDuration()) texts[rank] = base::DurationText(durations[rank]);
  }
  const std::string text = ClassValuesText(texts);
  return text.empty() ? "none" : text;
}

}  // namespace hadal::admission
