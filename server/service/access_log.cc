// SPDX-License-Identifier: Apache-2.0
#include "server/service/access_log.h"

#include <string>
#include <string_view>
#include <vector>

#include "server/base/json_line.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

void AddText(std::string_view key, std::string_view text, base::JsonLine* line) {
  if (!text.empty()) line->Add(key, text);
}

void AddMilliseconds(std::string_view key, absl::Duration duration, base::JsonLine* line) {
  // Microseconds are as fine as the clocks are worth.
  if (duration < absl::InfiniteDuration()) {
    line->Add(key, static_cast<double>(absl::ToInt64Microseconds(duration)) / 1000);
  }
}

// "stop", or of several choices "stop,length".
std::string FinishText(const std::vector<Finish>& finishes) {
  std::string text;
  for (const Finish finish : finishes) {
    if (!text.empty()) text += ',';
    text += FinishName(finish);
  }
  return text;
}

}  // namespace

void AccessLog::Write(const CallInfo& info, const CallOutcome& outcome, absl::Time now) {
  base::JsonLine line(now);
  line.Add("request_id", info.request_id);
  AddText("trace_id", info.trace.trace_id, &line);
  line.Add("protocol", info.protocol == Protocol::kHttp ? "http" : "grpc");
  line.Add("route", info.route);
  line.Add("status", int64_t{outcome.code});
  line.Add("outcome", OutcomeOf(outcome.status));
  if (!outcome.status.ok()) {
    const request::ErrorDetail detail = request::GetErrorDetail(outcome.status);
    line.Add("reason", request::ReasonName(detail.reason));
    if (detail.retry_after.has_value()) AddMilliseconds("retry_after_ms", *detail.retry_after, &line);
  }
  line.Add("class", request::kPriorityNames[static_cast<size_t>(info.caller.priority)]);
  AddText("tenant", info.caller.tenant, &line);
  AddText("client", info.network, &line);
  AddText("served_by", outcome.served_by, &line);
  AddText("model", outcome.model, &line);
  if (!outcome.model.empty()) {
    line.Add("prompt_tokens", int64_t{outcome.usage.prompt_tokens});
    line.Add("cached_tokens", int64_t{outcome.usage.cache_hit_tokens});
    line.Add("completion_tokens", int64_t{outcome.usage.completion_tokens});
    line.Add("reasoning_tokens", int64_t{outcome.usage.reasoning_tokens});
  }
  AddText("finish_reason", FinishText(outcome.finishes), &line);
  AddMilliseconds("queue_ms", outcome.times.started - info.arrival, &line);
  AddMilliseconds("ttft_ms", outcome.times.first_token - info.arrival, &line);
  AddMilliseconds("duration_ms", outcome.duration, &line);
  writer_->Write(line.Take());
}

}  // namespace hadal::service
