// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace hadal::base {

// A finished span as in OpenTelemetry. Plain data.
struct Span {
  enum class Kind : uint8_t { kServer, kInternal };
  using Value = std::variant<int64_t, double, std::string, std::vector<std::string>>;

  std::string trace_id;        // 32 hexadecimal digits
  std::string span_id;         // 16 digits
  std::string parent_id;       // 16 digits; empty: a root span
  bool remote_parent = false;  // the parent belongs to another process
  std::string state;           // W3C tracestate
  std::string name;
  Kind kind = Kind::kInternal;
  absl::Time start, end;                                       // wall-clock time
  std::vector<std::pair<std::string_view, Value>> attributes;  // keys are constants
  bool error = false;
  std::string error_message;
};

// Where finished spans go.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  // Never blocks: what there is no room for is dropped and counted. Any thread.
  virtual void Take(std::vector<Span> spans) = 0;
};

}  // namespace hadal::base
