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

std::string EncodeTime(const std::optional<absl::Duration>& time) {
  return time.has_value() ? absl::StrCat(absl::ToInt64Microseconds(*time)) : "-";
}
std::optional<absl::Duration> DecodeTime(absl::string_view text) {
  int64_t us = 0;
  if (!absl::SimpleAtoi(text, &us)) return std::nullopt;
  return absl::Microseconds(us);
}

// "reason|retry_us or -|estimated_us or -|promised|should_retry|ticket|param". Written and read in this file only.
absl::Cord Encode(const ErrorDetail& detail) {
  return absl::Cord(absl::StrCat(static_cast<int>(detail.reason), "|", EncodeTime(detail.retry_after), "|",
                                 EncodeTime(detail.estimated_wait), "|", detail.promised ? 1 : 0, "|",
                                 detail.should_retry ? 1 : 0, "|", detail.ticket, "|", detail.param));
}

std::optional<ErrorDetail> Decode(const absl::Cord& payload) {
  const std::string text(payload);
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('|', 6));
  ErrorDetail detail;
  int reason = 0;
  if (parts.size() != 7 || !absl::SimpleAtoi(parts[0], &reason) || reason < 0 || reason >= kNumReasons) {
    return std::nullopt;
  }
  detail.reason = static_cast<Reason>(reason);
  detail.retry_after = DecodeTime(parts[1]);
  detail.estimated_wait = DecodeTime(parts[2]);
  detail.promised = parts[3] == "1";
  detail.should_retry = parts[4] == "1";
  detail.ticket = parts[5];
  detail.param = parts[6];
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

absl::Status MakeBusy(Reason reason, std::string_view detail, const RetryHint& hint) {
  ErrorDetail error;
  error.reason = reason;
  error.retry_after = hint.after;
  error.estimated_wait = hint.estimated_wait;
  error.promised = hint.promised;
  error.should_retry = hint.should_retry;
  error.ticket = hint.ticket;
  return WithDetail(error, absl::StrFormat("Server busy (%s): %s; %s %.1f s", kBusyText, detail,
                                           hint.should_retry ? "retry in" : "no room expected for",
                                           absl::ToDoubleSeconds(hint.after)));
}

absl::Status MakeBusy(Reason reason, std::string_view detail, absl::Duration retry_after) {
  return MakeBusy(reason, detail, RetryHint{.after = retry_after});
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
