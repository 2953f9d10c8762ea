// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/refusal_response.h"

#include <string>

#include "absl/time/time.h"
#include "server/request/refusal.h"

namespace hadal::sim {

bench::CallResult RefusalResponse(const absl::Status& refusal, Protocol protocol) {
  const request::ErrorDetail detail = request::GetErrorDetail(refusal);
  bench::CallResult result;
  result.end = detail.retry_after.has_value() ? bench::CallEnd::kRefused : bench::CallEnd::kFailed;
  const request::WireError& wire = request::WireErrorFor(detail.reason);
  result.reason = request::ReasonName(detail.reason);
  result.message = std::string(refusal.message());
  if (protocol == Protocol::kGrpc) {
    result.grpc_code = static_cast<int>(wire.code);
    const bool returns = detail.retry_after.has_value() && detail.should_retry;
    result.advice.pushback_ms = returns ? absl::ToInt64Milliseconds(*detail.retry_after) : -1;
    return result;
  }
  result.status = wire.http_status;
  result.advice.should_retry = detail.retry_after.has_value() && detail.should_retry ? "true" : "false";
  if (!detail.retry_after.has_value()) return result;
  const absl::Duration after = *detail.retry_after;
  result.advice.retry_after = std::to_string(absl::ToInt64Seconds(absl::Ceil(after, absl::Seconds(1))));
  result.advice.retry_after_ms = std::to_string(absl::ToInt64Milliseconds(after));
  result.advice.promise = detail.promised ? "held" : "none";
  return result;
}

}  // namespace hadal::sim
