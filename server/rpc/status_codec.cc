// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/status_codec.h"

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/request/refusal.h"

namespace hadal::rpc {

grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& request_id, absl::StatusCode overload_code) {
  if (status.ok()) return grpc::Status::OK;
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  const request::WireError& wire = request::WireErrorFor(detail.reason);
  const auto code = static_cast<grpc::StatusCode>(wire.capacity ? overload_code : wire.code);
  const std::string message(status.message());

  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(request::ReasonName(detail.reason)));
  info.set_domain("hadal");
  (*info.mutable_metadata())["request_id"] = request_id;
  if (!detail.param.empty()) (*info.mutable_metadata())["param"] = detail.param;
  if (detail.retry_after.has_value()) {
    (*info.mutable_metadata())["promise"] = detail.promised ? "held" : "none";
  }
  if (detail.estimated_wait.has_value()) {
    (*info.mutable_metadata())["estimated_wait_ms"] = absl::StrCat(absl::ToInt64Milliseconds(*detail.estimated_wait));
  }
  details.add_details()->PackFrom(info);
  if (detail.reason == request::Reason::kTenantQuota) {
    google::rpc::QuotaFailure failure;
    google::rpc::QuotaFailure::Violation& violation = *failure.add_violations();
    violation.set_subject("api_key");
    violation.set_description(message);
    details.add_details()->PackFrom(failure);
  }
  // Some clients take it as leave to retry.
  if (detail.retry_after.has_value() && detail.should_retry) {
    google::rpc::RetryInfo retry;
    const int64_t nanos = absl::ToInt64Nanoseconds(*detail.retry_after);
    retry.mutable_retry_delay()->set_seconds(nanos / 1000000000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1000000000));
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(code, message, details.SerializeAsString());
}

std::string RetryPushback(const absl::Status& status) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  if (!detail.retry_after.has_value() || !detail.should_retry) return "-1";
  return absl::StrCat(absl::ToInt64Milliseconds(*detail.retry_after));
}

}  // namespace hadal::rpc
