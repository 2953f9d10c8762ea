// SPDX-License-Identifier: Apache-2.0
#include "server/request/refusal.h"

#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace hadal::request {
namespace {

constexpr std::string_view kDetailUrl = "hadal/error-detail";

// "reason|retry_us or -|param". Written and read in this file only.
absl::Cord Encode(const ErrorDetail& detail) {
  const std::string retry =
      detail.retry_after.has_value() ? absl::StrCat(absl::ToInt64Microseconds(*detail.retry_after)) : "-";
  return absl::Cord(absl::StrCat(static_cast<int>(detail.reason), "|", retry, "|", detail.param));
}

std::optional<ErrorDetail> Decode(const absl::Cord& payload) {
  const std::string text(payload);
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('|', 2));
  ErrorDetail detail;
  int reason = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &reason) || reason < 0 || reason >= kNumReasons) {
    return std::nullopt;
  }
  detail.reason = static_cast<Reason>(reason);
  int64_t retry_us = 0;
  if (absl::SimpleAtoi(parts[1], &retry_us)) detail.retry_after = absl::Microseconds(retry_us);
  detail.param = parts[2];
  return detail;
}

Reason ReasonForCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return Reason::kNone;
    case absl::StatusCode::kCancelled:
      return Reason::kCancelled;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
      return Reason::kInvalidRequest;
    case absl::StatusCode::kOutOfRange:
      return Reason::kOutOfRange;
    case absl::StatusCode::kDeadlineExceeded:
      return Reason::kDeadlineExpired;
    case absl::StatusCode::kNotFound:
      return Reason::kModelNotFound;
    case absl::StatusCode::kPermissionDenied:
      return Reason::kPermissionDenied;
    case absl::StatusCode::kUnauthenticated:
      return Reason::kUnauthenticated;
    case absl::StatusCode::kUnimplemented:
      return Reason::kUnsupported;
    default:
      return Reason::kInternal;
  }
}

absl::Status WithDetail(const ErrorDetail& detail, std::string_view message) {
  absl::Status status(WireErrorFor(detail.reason).code, absl::string_view(message.data(), message.size()));
  status.SetPayload(absl::string_view(kDetailUrl.data(), kDetailUrl.size()), Encode(detail));
  return status;
}

}  // namespace

absl::Status MakeError(Reason reason, std::string_view message, std::string_view param) {
  ErrorDetail detail;
  detail.reason = reason;
  detail.param = std::string(param);
  return WithDetail(detail, message);
}

absl::Status MakeRefusal(Reason reason, std::string_view message, absl::Duration retry_after) {
  ErrorDetail detail;
  detail.reason = reason;
  detail.retry_after = retry_after;
  return WithDetail(detail, message);
}

absl::Status MakeBusy(Reason reason, std::string_view detail, absl::Duration retry_after) {
  return MakeRefusal(
      reason,
      absl::StrFormat("Server busy (%s): %s; retry in %.1f s", kBusyText, detail, absl::ToDoubleSeconds(retry_after)),
      retry_after);
}

ErrorDetail GetErrorDetail(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(absl::string_view(kDetailUrl.data(), kDetailUrl.size()));
  if (payload.has_value()) {
    if (std::optional<ErrorDetail> detail = Decode(*payload)) return *std::move(detail);
  }
  ErrorDetail detail;
  detail.reason = ReasonForCode(status.code());
  return detail;
}

}  // namespace hadal::request
