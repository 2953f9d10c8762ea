// SPDX-License-Identifier: Apache-2.0
#include "server/service/tracer.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using base::Span;

// The conventions for generative AI are in development: their names stand here and nowhere else.
constexpr std::string_view kOperation = "gen_ai.operation.name";
constexpr std::string_view kProvider = "gen_ai.provider.name";
constexpr std::string_view kRequestModel = "gen_ai.request.model";
constexpr std::string_view kResponseModel = "gen_ai.response.model";
constexpr std::string_view kFinishReasons = "gen_ai.response.finish_reasons";
constexpr std::string_view kInputTokens = "gen_ai.usage.input_tokens";
constexpr std::string_view kOutputTokens = "gen_ai.usage.output_tokens";
constexpr std::string_view kCachedTokens = "gen_ai.usage.cache_read.input_tokens";
constexpr std::string_view kDeepSeek = "deepseek";

std::mt19937_64& Random() {
  thread_local std::mt19937_64 random((uint64_t{std::random_device{}()} << 32) | std::random_device{}());
  return random;
}

// 16 digits, not all 0.
std::string NewId() {
  uint64_t id = 0;
  while (id == 0) id = Random()();
  return absl::StrFormat("%016x", id);
}

// "" for a route that generates nothing.
std::string_view OperationOf(std::string_view route) {
  if (route == "/v1/completions" || route == "Generate") return "text_completion";
  if (route.starts_with("/v1/files") || route.starts_with("/v1/batches")) return "";
  if (route.starts_with("/v1/models") || route.ends_with("/render")) return "";
  if (route.ends_with("/count_tokens") || route.ends_with("/input_tokens")) return "";
  return route.starts_with("/v1/") || route == "Chat" ? "chat" : "";
}

void AddProtocol(const CallInfo& info, const CallOutcome& outcome, Span* span) {
  if (info.protocol == Protocol::kHttp) {
    span->attributes.emplace_back("http.route", std::string(info.route));
    span->attributes.emplace_back("http.response.status_code", int64_t{outcome.code});
  } else {
    span->attributes.emplace_back("rpc.system", std::string("grpc"));
    span->attributes.emplace_back("rpc.service", std::string(info.rpc_service));
    span->attributes.emplace_back("rpc.method", std::string(info.route));
    span->attributes.emplace_back("rpc.grpc.status_code", int64_t{outcome.code});
  }
  span->attributes.emplace_back("client.address", info.network);
}

void AddAnswer(std::string_view operation, const CallOutcome& outcome, Span* span) {
  span->attributes.emplace_back(kOperation, std::string(operation));
  span->attributes.emplace_back(kProvider, std::string(kDeepSeek));
  if (outcome.model.empty()) return;
  span->attributes.emplace_back(kRequestModel, outcome.model);
  span->attributes.emplace_back(kResponseModel, outcome.model);
  span->attributes.emplace_back(kInputTokens, int64_t{outcome.usage.prompt_tokens});
  span->attributes.emplace_back(kOutputTokens, int64_t{outcome.usage.completion_tokens});
  span->attributes.emplace_back(kCachedTokens, int64_t{outcome.usage.cache_hit_tokens});
  if (outcome.finishes.empty()) return;
  std::vector<std::string> reasons;
  for (const Finish finish : outcome.finishes) reasons.emplace_back(FinishName(finish));
  span->attributes.emplace_back(kFinishReasons, std::move(reasons));
}

void AddStatus(const absl::Status& status, Span* span) {
  span->attributes.emplace_back("hadal.outcome", std::string(OutcomeOf(status)));
  if (status.ok()) return;
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  const std::string reason(request::ReasonName(detail.reason));
  span->attributes.emplace_back("error.type", reason);
  if (detail.retry_after.has_value()) {
    span->attributes.emplace_back("hadal.retry_after_ms", absl::ToInt64Milliseconds(*detail.retry_after));
  }
  // What the caller did wrong is no error of the server's span. Messages may repeat what it sent: the reason is enough.
  span->error = request::WireErrorFor(detail.reason).http_status >= 500;
  if (span->error) span->error_message = reason;
}

}  // namespace

void Tracer::Begin(TraceContext* context) const {
  if (context->trace_id.empty()) {
    if (std::uniform_real_distribution<double>()(Random()) >= sample_ratio_) return;
    context->trace_id = NewId() + NewId();
    context->sampled = true;
  }
  if (context->sampled) context->span_id = NewId();
}

void Tracer::End(const CallInfo& info, const CallOutcome& outcome, absl::Time now, absl::Time wall_now) const {
  const TraceContext& context = info.trace;
  if (context.span_id.empty()) return;
  const auto wall = [&](absl::Time time) { return wall_now - (now - std::clamp(time, info.arrival, now)); };
  std::vector<Span> spans;
  spans.reserve(5);

  Span& request = spans.emplace_back();
  request.trace_id = context.trace_id;
  request.span_id = context.span_id;
  request.parent_id = context.parent_id;
  request.remote_parent = !context.parent_id.empty();
  request.state = context.state;
  request.kind = Span::Kind::kServer;
  request.start = wall(info.arrival);
  request.end = wall_now;
  const std::string_view operation = OperationOf(info.route);
  request.name = operation.empty() ? info.route : operation;
  if (!operation.empty() && !outcome.model.empty()) request.name += " " + outcome.model;
  if (!operation.empty()) AddAnswer(operation, outcome, &request);
  AddProtocol(info, outcome, &request);
  request.attributes.emplace_back("hadal.request_id", info.request_id);
  request.attributes.emplace_back("hadal.class",
                                  std::string(request::kPriorityNames[static_cast<size_t>(info.caller.priority)]));
  if (!info.caller.tenant.empty()) request.attributes.emplace_back("hadal.tenant", info.caller.tenant);
  AddStatus(outcome.status, &request);

  const auto add_phase = [&](const char* name, absl::Time start, absl::Time end) {
    Span& phase = spans.emplace_back();
    phase.trace_id = context.trace_id;
    phase.span_id = NewId();
    phase.parent_id = context.span_id;
    phase.state = context.state;
    phase.name = name;
    phase.start = wall(start);
    phase.end = wall(end);
  };
  const request::StreamTimes& times = outcome.times;
  const absl::Time never = absl::InfiniteFuture();
  if (!outcome.model.empty()) {
    add_phase("queue", info.arrival, times.started == never ? times.ended : times.started);
    if (times.started != never) add_phase("prefill", times.started, std::min(times.first_token, times.ended));
    if (times.first_token != never) add_phase("decode", times.first_token, times.ended);
    if (outcome.first_update != never) add_phase("write", outcome.first_update, now);
  }
  sink_->Take(std::move(spans));
}

}  // namespace hadal::service
