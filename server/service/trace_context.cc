// SPDX-License-Identifier: Apache-2.0
#include "server/service/trace_context.h"

#include <algorithm>

namespace hadal::service {
namespace {

// version "-" trace-id "-" parent-id "-" flags; a later version may say more behind another "-".
constexpr size_t kTraceIdAt = 3, kTraceIdDigits = 32;
constexpr size_t kParentIdAt = 36, kParentIdDigits = 16;
constexpr size_t kFlagsAt = 53, kLength = 55;
constexpr size_t kMaxStateBytes = 512;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view digits) { return digits.find_first_not_of('0') == digits.npos; }

int HexValue(char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; }

bool MayBePassedOn(std::string_view state) {
  return state.size() <= kMaxStateBytes &&
         std::all_of(state.begin(), state.end(), [](char c) { return (c >= ' ' && c <= '~') || c == '\t'; });
}

}  // namespace

TraceContext ParseTraceContext(std::string_view traceparent, std::string_view tracestate) {
  if (traceparent.size() < kLength || traceparent[2] != '-' || traceparent[kParentIdAt - 1] != '-' ||
      traceparent[kFlagsAt - 1] != '-') {
    return {};
  }
  const std::string_view version = traceparent.substr(0, 2);
  const std::string_view trace_id = traceparent.substr(kTraceIdAt, kTraceIdDigits);
  const std::string_view parent_id = traceparent.substr(kParentIdAt, kParentIdDigits);
  const std::string_view flags = traceparent.substr(kFlagsAt, 2);
  if (!IsHex(version) || !IsHex(trace_id) || !IsHex(parent_id) || !IsHex(flags)) return {};
  if (version == "ff" || IsZero(trace_id) || IsZero(parent_id)) return {};
  const bool longer = traceparent.size() > kLength;
  if (longer && (version == "00" || traceparent[kLength] != '-')) return {};
  TraceContext context;
  context.trace_id = trace_id;
  context.parent_id = parent_id;
  context.sampled = (HexValue(flags[1]) & 1) != 0;
  if (MayBePassedOn(tracestate)) context.state = tracestate;
  return context;
}

std::string TraceResponse(const TraceContext& context) {
  if (context.span_id.empty()) return "";
  return "00-" + context.trace_id + "-" + context.span_id + "-01";
}

}  // namespace hadal::service
