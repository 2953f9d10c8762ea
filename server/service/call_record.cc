// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_record.h"

#include <algorithm>

#include "server/base/log.h"
#include "server/request/refusal.h"

namespace hadal::service {

using request::Reason;

std::string SenderOf(const CallInfo& info) {
  const std::string& tenant = info.caller.tenant;
  return tenant.empty() ? "network " + info.network : "tenant " + tenant;
}

std::string_view OutcomeOf(const absl::Status& status) {
  if (status.ok()) return "ok";
  const Reason reason = request::GetErrorDetail(status).reason;
  if (reason == Reason::kCancelled || reason == Reason::kSlowReader) return "cancelled";
  const request::WireError& wire = request::WireErrorFor(reason);
  if (wire.capacity || reason == Reason::kTenantQuota || wire.http_status == 503) return "shed";
  return wire.http_status >= 500 ? "error" : "invalid";
}

void RecordCall(const CallInfo& info, const CallOutcome& outcome, CallMetrics* metrics) {
  const bool http = info.protocol == Protocol::kHttp;
  const std::string code = std::to_string(outcome.code);
  const std::string_view label = OutcomeOf(outcome.status);
  const std::string reason(outcome.status.ok() ? ""
                                               : request::ReasonName(request::GetErrorDetail(outcome.status).reason));
  const Usage& usage = outcome.usage;
  const std::string priority(request::kPriorityNames[static_cast<size_t>(info.caller.priority)]);
  metrics->requests
      .With({std::string(info.route), priority, http ? code : "", http ? "" : code, std::string(label), reason})
      .Increment();
  if (label == "shed" && outcome.refused_after != absl::InfiniteDuration()) {
    metrics->rejection_latency.At(http ? 0 : 1).Observe(absl::ToDoubleSeconds(outcome.refused_after));
  }
  if (!outcome.status.ok() && request::GetErrorDetail(outcome.status).reason == Reason::kSlowReader) {
    metrics->slow_readers.Get().Increment();
  }
  if (usage.thinking_cuts > 0) metrics->thinking_cuts.Get().Increment(usage.thinking_cuts);
  if (usage.tool_calls > 0) metrics->tool_calls.At(CallMetrics::kGiven).Increment(usage.tool_calls);
  if (usage.broken_tool_blocks > 0) {
    metrics->tool_calls.At(CallMetrics::kMalformed).Increment(usage.broken_tool_blocks);
  }
  if (base::LogEnabled(base::LogLevel::kDebug)) {
    base::Log(base::LogLevel::kDebug, http ? "http" : "grpc", info.route,
              {{"request_id", std::string_view(info.request_id)},
               {"trace_id", std::string_view(info.trace.trace_id)},
               {"outcome", label},
               {"code", std::string_view(code)},
               {"reason", std::string_view(reason)},
               {"prompt_tokens", int64_t{usage.prompt_tokens}},
               {"completion_tokens", int64_t{usage.completion_tokens}},
               {"tool_calls", int64_t{usage.tool_calls}},
               {"malformed_tool_calls", int64_t{usage.broken_tool_blocks}},
               {"duration_ms", absl::ToDoubleMilliseconds(outcome.duration)}});
  }
}

void MergeTimes(const request::StreamTimes& call, request::StreamTimes* request) {
  request->started = std::min(request->started, call.started);
  request->first_token = std::min(request->first_token, call.first_token);
  if (call.ended == absl::InfiniteFuture()) return;
  request->ended = request->ended == absl::InfiniteFuture() ? call.ended : std::max(request->ended, call.ended);
}

}  // namespace hadal::service
