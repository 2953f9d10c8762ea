// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::service {

// What is counted of finished calls, over both fronts. Thread-safe; `registry` may be null, else it outlives this.
struct CallMetrics {
  explicit CallMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  base::Family<base::Counter> requests{registry,
                                       {.name = "hadal_requests_total",
                                        .help = "Finished requests.",
                                        .labels = {"route", "class", "http_code", "grpc_code", "outcome", "reason"},
                                        .series = {{"/v1/chat/completions", "normal", "", "", "ok", ""},
                                                   {"/v1/chat/completions", "normal", "", "", "shed", ""},
                                                   {"/v1/chat/completions", "normal", "", "", "error", ""},
                                                   {"/v1/chat/completions", "normal", "", "", "invalid", ""},
                                                   {"/v1/chat/completions", "normal", "", "", "cancelled", ""}}}};

  static constexpr double kRejectionBuckets[] = {.00002, .00005, .0001, .0002, .0005, .001,
                                                 .002,   .005,   .01,   .05,   .1,    1};
  base::Family<base::Histogram> rejection_latency{
      registry,
      {.name = "hadal_rejection_latency_seconds",
       .help = "From the headers, or the body when it was waited for, to the answer of a request that was refused.",
       .labels = {"protocol"},
       .series = {{"http"}, {"grpc"}},
       .buckets = kRejectionBuckets}};

  base::Family<base::Counter> slow_readers{
      registry, {"hadal_slow_readers_total", "Responses given up because the client did not read."}};

  base::Family<base::Counter> thinking_cuts{
      registry, {"hadal_thinking_cuts_total", "Choices whose thinking was ended by their request's limit."}};

  enum ToolCall : size_t { kGiven, kMalformed };
  base::Family<base::Counter> tool_calls{registry,
                                         {.name = "hadal_tool_calls_total",
                                          .help = "Tool calls that models wrote: given to clients, or malformed.",
                                          .labels = {"outcome"},
                                          .series = {{"given"}, {"malformed"}}}};
};

}  // namespace hadal::service
