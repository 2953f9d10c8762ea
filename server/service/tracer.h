// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"
#include "server/base/span.h"
#include "server/service/call_record.h"
#include "server/service/trace_context.h"

namespace hadal::service {

// Turns finished requests into spans: one of the server for the request, and inside it
//   queue    arrival to start
//   prefill  start to first token
//   decode   first token to the engine's end
//   write    first update taken by the front to the end of the request
// A request that ends early has the spans that it reached; the last one ends with it. Names and attributes follow the
// OpenTelemetry conventions for generative AI, HTTP and RPC; prompts and outputs are in none of them. Thread-safe.
class Tracer {
 public:
  // `sink` outlives this. `sample_ratio` is for requests without a traceparent: with one its sender has decided.
  Tracer(base::SpanSink* sink, double sample_ratio) : sink_(sink), sample_ratio_(sample_ratio) {}

  // Decides whether the request is traced, and gives it its ids then.
  void Begin(TraceContext* context) const;
  // Hands the spans of a traced request to the sink; nothing for others. `now`: the clock of the request's times, by
  // which it ends; `wall_now`: the same moment on the wall clock.
  void End(const CallInfo& info, const CallOutcome& outcome, absl::Time now, absl::Time wall_now) const;

 private:
  base::SpanSink* const sink_;
  const double sample_ratio_;
};

}  // namespace hadal::service
