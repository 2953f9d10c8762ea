// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/grpc_result.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace hadal::bench {
namespace {

constexpr const char* kCodeNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

std::string Trailer(const std::multimap<grpc::string_ref, grpc::string_ref>& trailers, const char* name) {
  const auto it = trailers.find(name);
  return it == trailers.end() ? "" : std::string(it->second.data(), it->second.size());
}

// The reason in google.rpc.ErrorInfo; empty without one.
std::string ErrorInfoReason(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details())) return "";
  for (const auto& any : details.details()) {
    if (any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) return info.reason();
  }
  return "";
}

std::string FinishName(hadal::v1::FinishReason finish) {
  std::string name = hadal::v1::FinishReason_Name(finish).substr(sizeof("FINISH_REASON_") - 1);
  absl::AsciiStrToLower(&name);
  return name;
}

}  // namespace

size_t GrpcAnswer::Add(const hadal::v1::GenerateResponse& message) {
  size_t bytes = message.text().size() + message.reasoning().size();
  for (const auto& call : message.tool_calls()) bytes += call.name().size() + call.arguments().size();
  content_bytes += bytes;
  if (message.finish_reason() != hadal::v1::FINISH_REASON_UNSPECIFIED) finish = message.finish_reason();
  if (message.has_usage()) {
    prompt_tokens = message.usage().prompt_tokens();
    completion_tokens = message.usage().completion_tokens();
    cached_tokens = message.usage().prompt_cache_hit_tokens();
  }
  return bytes;
}

CallResult JudgeGrpcCall(const grpc::Status& status, const std::multimap<grpc::string_ref, grpc::string_ref>& trailers,
                         const GrpcAnswer& answer, std::string_view cancel_reason) {
  CallResult result;
  result.grpc_code = static_cast<int>(status.error_code());
  result.prompt_tokens = answer.prompt_tokens;
  result.completion_tokens = answer.completion_tokens;
  result.cached_tokens = answer.cached_tokens;
  result.message = status.error_message();
  int64_t pushback_ms;
  if (absl::SimpleAtoi(Trailer(trailers, "grpc-retry-pushback-ms"), &pushback_ms))
    result.advice.pushback_ms = pushback_ms;
  result.advice.promise = Trailer(trailers, "x-hadal-promise");
  result.advice.ticket = Trailer(trailers, "x-hadal-ticket");
  if (!status.ok()) {
    result.reason = ErrorInfoReason(status);
    const bool said_by_server = !result.reason.empty() || result.advice.pushback_ms;
    const bool capacity = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                          status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
    if (capacity && said_by_server && answer.content_bytes == 0) result.end = CallEnd::kRefused;
    if (!cancel_reason.empty()) {
      result.reason = std::string(cancel_reason);
    } else if (result.reason.empty()) {
      result.reason = result.grpc_code <= 16 ? kCodeNames[result.grpc_code] : absl::StrCat("grpc_", result.grpc_code);
    }
    return result;
  }
  if (answer.finish == hadal::v1::FINISH_REASON_UNSPECIFIED) {
    result.reason = "cut_off";
    result.message = "the stream ended without a finish reason";
  } else if (answer.finish == hadal::v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE) {
    result.reason = FinishName(answer.finish);
  } else if (answer.content_bytes == 0) {
    result.reason = "empty_answer";
    result.message = "status OK without any content";
  } else {
    result.end = CallEnd::kServed;
    result.finish_reason = FinishName(answer.finish);
  }
  return result;
}

}  // namespace hadal::bench
