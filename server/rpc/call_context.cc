// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_context.h"

#include <grpc/compression.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/relay/passed_fields.h"
#include "server/request/refusal.h"
#include "server/request/request_id.h"
#include "server/service/api_keys.h"
#include "server/service/call_limits.h"
#include "server/service/load_report.h"
#include "server/service/returning_client.h"
#include "server/service/session_headers.h"
#include "server/upstream/pass_rules.h"

// Exported by the library, but in none of its public headers; weak, should a version come without it.
extern grpc_compression_algorithm grpc_call_test_only_get_compression_algorithm(grpc_call* call) __attribute__((weak));

namespace hadal::rpc {
namespace {

std::string_view Find(const grpc::CallbackServerContext& context, std::string_view key) {
  const auto it = context.client_metadata().find(grpc::string_ref(key.data(), key.size()));
  return it == context.client_metadata().end() ? std::string_view()
                                               : std::string_view(it->second.data(), it->second.size());
}

std::optional<upstream::PassedRequest> PassedOf(const grpc::CallbackServerContext& context,
                                                const CallEnvironment& environment, const CallMetadata& metadata) {
  const service::CallInfo& info = metadata.info;
  const std::optional<int> hops = upstream::HopsIfAllowed(
      environment.upstreams,
      {Find(context, "x-hadal-hop"), Find(context, "x-hadal-allow-fallback"), info.allow_degraded});
  if (!hops.has_value()) return std::nullopt;
  upstream::PassedRequest request;
  request.fields = relay::FieldsOf(info.trace, {{"x-request-id", info.request_id},
                                                {"x-hadal-priority", Find(context, "x-hadal-priority")},
                                                {"x-hadal-queue", Find(context, "x-hadal-queue")},
                                                {"idempotency-key", Find(context, "idempotency-key")}});
  for (const auto& field : metadata.session) request.fields.push_back(field);
  request.hop = *hops + 1;
  request.deadline = info.deadline;
  request.first_by = std::min(info.first_token_by, info.gives_up_at);
  request.request_id = info.request_id;
  request.trace_id = info.trace.trace_id;
  return request;
}

}  // namespace

absl::Duration TimeLeft(gpr_timespec deadline) {
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) return absl::InfiniteDuration();
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  return absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

absl::Status CheckNotCompressed(grpc::CallbackServerContext* context) {
  if (grpc_call_test_only_get_compression_algorithm == nullptr) return absl::OkStatus();
  const grpc_compression_algorithm coding = grpc_call_test_only_get_compression_algorithm(context->c_call());
  if (coding == GRPC_COMPRESS_NONE) return absl::OkStatus();
  const char* name = nullptr;
  if (grpc_compression_algorithm_name(coding, &name) == 0) name = "unknown";
  return request::MakeError(
      request::Reason::kUnsupportedMediaType,
      absl::StrCat("the call's messages are compressed (", name, "); they are taken as they are, not compressed"));
}

absl::Status OpenCall(const grpc::CallbackServerContext& context, const CallEnvironment& environment,
                      const base::Peer& peer, bool needs_key, CallMetadata* out) {
  service::CallInfo& info = out->info;
  info.protocol = service::Protocol::kGrpc;
  info.network = peer.network;
  info.arrival = environment.service->clock().Now();
  info.request_id = request::RequestIdFor(Find(context, "x-request-id"));
  info.trace = environment.service->OpenTrace(Find(context, "traceparent"), Find(context, "tracestate"));
  info.deadline = info.arrival + TimeLeft(context.raw_deadline());
  out->load_report = service::ParseLoadReportFormat(Find(context, service::kLoadReportFormatHeader));
  for (const std::string_view name : service::kSessionHeaders) {
    const std::string_view value = Find(context, name);
    if (service::IsSessionValue(value)) out->session.emplace_back(name, value);
  }
  if (!needs_key) return absl::OkStatus();
  const std::string_view name = Find(context, "x-hadal-priority");
  const std::optional<request::Priority> priority = service::ParsePriority(name);
  if (!name.empty() && !priority.has_value()) {
    return request::MakeError(
        request::Reason::kOutOfRange,
        absl::StrCat("x-hadal-priority: expected high, normal, low or batch, found '", base::View(name), "'"),
        "x-hadal-priority");
  }
  out->has_priority = priority.has_value();
  if (peer.lacks_certificate) return service::MissingCertificate();
  absl::StatusOr<service::Caller> caller = environment.keys->Authenticate(Find(context, "authorization"), priority);
  if (!caller.ok()) return caller.status();
  info.caller = *std::move(caller);
  // gRPC counts its own retries, our client library those that it makes itself.
  std::string_view attempts = Find(context, "grpc-previous-rpc-attempts");
  if (attempts.empty()) attempts = Find(context, "x-stainless-retry-count");
  service::NoteReturnHeaders({.idempotency_key = Find(context, "idempotency-key"),
                              .attempts = attempts,
                              .client = Find(context, "x-hadal-client"),
                              .ticket = Find(context, "x-hadal-ticket")},
                             &info);
  info.allow_degraded = Find(context, "x-hadal-allow-degraded") != "0";
  // Not guessed: a client that forbids it must not find its prompt elsewhere, nor take another answer for its own.
  for (const char* name : {"x-hadal-allow-fallback", "x-hadal-allow-degraded"}) {
    const std::string_view value = Find(context, name);
    if (value.empty() || value == "0" || value == "1") continue;
    return request::MakeError(request::Reason::kOutOfRange,
                              absl::StrCat(name, ": expected 0 or 1, found '", base::View(value), "'"), name);
  }
  const absl::StatusOr<response_cache::CacheControl> cache =
      response_cache::ParseCacheControl(Find(context, "x-hadal-cache"));
  if (!cache.ok()) return cache.status();
  info.cache = *cache;
  absl::Status limits = service::ReadLimits({.deadline_ms = Find(context, "x-hadal-deadline-ms"),
                                             .queue = Find(context, "x-hadal-queue"),
                                             .slo_ttft_ms = Find(context, "x-llm-d-slo-ttft-ms")},
                                            &info);
  if (limits.ok() && environment.upstreams != nullptr) out->passed = PassedOf(context, environment, *out);
  return limits;
}

}  // namespace hadal::rpc
