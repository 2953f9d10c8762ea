// SPDX-License-Identifier: Apache-2.0
#include "server/relay/passed_fields.h"

#include <string>

namespace hadal::relay {
namespace {

std::string TraceParent(const service::TraceContext& trace) {
  const std::string& parent = trace.span_id.empty() ? trace.parent_id : trace.span_id;
  return "00-" + trace.trace_id + "-" + parent + (trace.sampled ? "-01" : "-00");
}

}  // namespace

upstream::Fields FieldsOf(const service::TraceContext& trace,
                          std::initializer_list<std::pair<std::string_view, std::string_view>> wishes) {
  upstream::Fields fields;
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) fields.emplace_back(name, value);
  };
  for (const auto& [name, value] : wishes) add(name, value);
  if (!trace.trace_id.empty()) {
    add("traceparent", TraceParent(trace));
    add("tracestate", trace.state);
  }
  return fields;
}

}  // namespace hadal::relay
