// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::service {

// A request's position in a distributed trace: W3C Trace Context, https://www.w3.org/TR/trace-context/. Plain data.
struct TraceContext {
  std::string trace_id;   // 32 lower-case hexadecimal digits; empty: nobody traces it
  std::string parent_id;  // 16 digits: the caller's span
  bool sampled = false;   // the caller records its span, or we have decided to
  std::string state;      // tracestate: what tracing systems add
  std::string span_id;    // 16 digits: the request's own span; empty: it is not traced
};

// Reads the headers or metadata `traceparent` and `tracestate`. What does not follow the standard counts as absent, as
// it asks for; so does a tracestate without a valid traceparent, or of more than 512 bytes.
TraceContext ParseTraceContext(std::string_view traceparent, std::string_view tracestate);

// What a response's header or trailer `traceresponse` says of a traced request: its trace and its span. Empty for
// others.
std::string TraceResponse(const TraceContext& context);

}  // namespace hadal::service
