// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "base/sync.h"
#include "server/request/refusal.h"
#include "server/request/request.h"

namespace hadal::admission {

// The fields of a log line in the JSON format, besides its text. 0 and empty: not known.
struct LogFields {
  request::Reason reason = request::Reason::kNone;
  std::string request_id;
  std::string trace_id;
  request::Priority priority = request::Priority::kNormal;
  int64_t required_bytes = 0;
  int64_t available_bytes = 0;
  int64_t retry_after_ms = 0;
};
enum class LogSeverity { kInfo, kWarning, kError };
// Must return quickly and never block (the server's log drops when it is full). `component`: "admission", "engine_0".
using LogSink =
    std::function<void(LogSeverity, std::string_view component, std::string_view message, const LogFields&)>;

// Writes the first line of a reason and second, then counts; the count is written with the first line of a later second
// as "REASON: N more in the last S s". 30,000 refusals a second become two lines a second. Thread-safe.
class AdmissionLog {
 public:
  explicit AdmissionLog(LogSink sink) : sink_(std::move(sink)) {}
  void Refusal(absl::Time now, LogSeverity severity, std::string_view component, std::string_view line,
               const LogFields& fields);

 private:
  static constexpr int kReasons = 48;
  struct Window {
    absl::Time start = absl::InfinitePast();
    int64_t suppressed = 0;
  };
  const LogSink sink_;
  base::Mutex mutex_;
  std::array<Window, kReasons> windows_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::admission
