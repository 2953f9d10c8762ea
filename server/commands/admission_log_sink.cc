// SPDX-License-Identifier: Apache-2.0
#include "server/commands/admission_log_sink.h"

#include <optional>
#include <string_view>

#include "server/base/log.h"
#include "server/base/log_scope.h"

namespace hadal::commands {

admission::LogSink MakeLogSink() {
  return [](admission::LogSeverity severity, std::string_view component, std::string_view message,
            const admission::LogFields& fields) {
    const base::LogLevel level = severity == admission::LogSeverity::kError     ? base::LogLevel::kError
                                 : severity == admission::LogSeverity::kWarning ? base::LogLevel::kWarn
                                                                                : base::LogLevel::kInfo;
    if (fields.reason == request::Reason::kNone) return base::Log(level, component, message);
    const base::LogField reason{"reason", request::ReasonName(fields.reason)};
    if (fields.request_id.empty()) {  // a count of refusals
      const base::LogScope of_no_request({}, {});
      return base::Log(level, component, message, {reason});
    }
    // The engine's thread, which refuses what was queued, works on no request: these ids are all there is.
    std::optional<base::LogScope> queued;
    if (!fields.trace_id.empty()) queued.emplace(fields.request_id, fields.trace_id);
    const base::LogField id{"request_id", std::string_view(fields.request_id)};
    const base::LogField priority{"class", request::kPriorityNames[static_cast<int>(fields.priority)]};
    const base::LogField hint{"retry_after_ms", fields.retry_after_ms};
    if (fields.required_bytes == 0) return base::Log(level, component, message, {reason, id, priority, hint});
    base::Log(level, component, message,
              {reason,
               id,
               priority,
               {"required_bytes", fields.required_bytes},
               {"available_bytes", fields.available_bytes},
               hint});
  };
}

}  // namespace hadal::commands
