// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_limits.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using request::MakeError;
using request::Reason;

// The time that many `unit`s after the arrival; nullopt for what is not a number above 0. Beyond a year is no limit.
std::optional<absl::Time> TimeOf(std::string_view text, absl::Duration unit, absl::Time arrival) {
  double value = 0;
  if (!absl::SimpleAtod(base::View(text), &value) || !(value > 0)) return std::nullopt;
  const double year = absl::FDivDuration(absl::Hours(24 * 365), unit);
  return value > year ? absl::InfiniteFuture() : arrival + value * unit;
}

// What errors repeat of a header.
std::string Quoted(std::string_view text) { return absl::StrCat("'", base::View(text.substr(0, 32)), "'"); }

void Tighten(std::optional<absl::Time> limit, absl::Time* time) {
  if (limit.has_value()) *time = std::min(*time, *limit);
}

}  // namespace

absl::Status ReadLimits(const LimitHeaders& headers, CallInfo* info) {
  if (!headers.deadline_ms.empty()) {
    const bool whole = std::all_of(headers.deadline_ms.begin(), headers.deadline_ms.end(),
                                   [](char c) { return c >= '0' && c <= '9'; });
    const auto deadline = whole ? TimeOf(headers.deadline_ms, absl::Milliseconds(1), info->arrival) : std::nullopt;
    if (!deadline.has_value()) {
      return MakeError(
          Reason::kOutOfRange,
          absl::StrCat("the header x-hadal-deadline-ms must be a whole number of milliseconds, 1 or more, not ",
                       Quoted(headers.deadline_ms)),
          "x-hadal-deadline-ms");
    }
    Tighten(deadline, &info->deadline);
  } else {
    Tighten(TimeOf(headers.sdk_timeout, absl::Seconds(1), info->arrival), &info->gives_up_at);
    Tighten(TimeOf(headers.read_timeout, absl::Seconds(1), info->arrival), &info->gives_up_at);
  }
  Tighten(TimeOf(headers.slo_ttft_ms, absl::Milliseconds(1), info->arrival), &info->first_token_by);
  if (!headers.queue.empty() && headers.queue != "yes" && headers.queue != "no") {
    return MakeError(Reason::kOutOfRange,
                     absl::StrCat("the header x-hadal-queue must be yes or no, not ", Quoted(headers.queue)),
                     "x-hadal-queue");
  }
  info->may_wait = headers.queue != "no";
  return absl::OkStatus();
}

}  // namespace hadal::service
