// SPDX-License-Identifier: Apache-2.0
#include "server/base/log.h"

#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/base/line_writer.h"
#include "server/base/log_options.h"
#include "server/base/log_scope.h"
#include "server/base/strings.h"

namespace hadal::base {
namespace {

struct State {
  std::unique_ptr<LineWriter> writer;
  bool json = false;
  LogLevel level = LogLevel::kInfo;
};
// Stays after the end of logging: a thread that nobody joins may still have a line.
std::atomic<State*> g_state{nullptr};

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarn:
      return "WARN";
    default:
      return "ERROR";
  }
}

// Whether the id is that of the scope's request, or of one of its further prompts (`ID-1`).
bool IsOf(const LogScope& scope, std::string_view request_id) {
  if (!request_id.starts_with(scope.request_id())) return false;
  request_id.remove_prefix(scope.request_id().size());
  return request_id.empty() || request_id.front() == '-';
}

// The fields of a line, and those of the request that it is about.
template <typename Add>
void ForEachField(std::initializer_list<LogField> fields, const Add& add) {
  const LogScope* const scope = LogScope::Current();
  bool named = false, traced = false, ours = scope != nullptr;
  for (const LogField& field : fields) {
    add(field);
    traced = traced || field.key == "trace_id";
    if (field.key != "request_id") continue;
    named = true;
    ours = ours && IsOf(*scope, std::get<std::string_view>(field.value));
  }
  if (!ours) return;
  if (!named && !scope->request_id().empty()) add({"request_id", scope->request_id()});
  if (!traced && !scope->trace_id().empty()) add({"trace_id", scope->trace_id()});
}

std::string JsonText(LogLevel level, std::string_view component, std::string_view message,
                     std::initializer_list<LogField> fields, absl::Time now) {
  JsonLine line(now);
  line.Add("level", LevelName(level));
  line.Add("component", component);
  line.Add("msg", message);
  ForEachField(fields, [&](const LogField& field) { line.Add(field.key, field.value); });
  return line.Take();
}

struct AppendValue {
  std::string& out;
  void operator()(int64_t value) const { absl::StrAppend(&out, value); }
  void operator()(double value) const { absl::StrAppend(&out, value); }
  void operator()(std::string_view value) const { out += value; }
};

std::string PlainText(LogLevel level, std::string_view component, std::string_view message,
                      std::initializer_list<LogField> fields, absl::Time now) {
  std::string line = absl::StrCat(absl::FormatTime("%Y-%m-%d %H:%M:%S", now, absl::LocalTimeZone()),
                                  absl::StrFormat(",%03d ", absl::ToUnixMillis(now) % 1000), View(LevelName(level)),
                                  " [", View(component), "] ", View(message));
  ForEachField(fields, [&](const LogField& field) {
    absl::StrAppend(&line, " ", View(field.key), "=");
    std::visit(AppendValue{line}, field.value);
  });
  return line;
}

}  // namespace

void InitLogging(const LogOptions& options) {
  auto state = std::make_unique<State>();
  state->json = options.json();
  state->level = options.level;
  state->writer = LineWriter::ToDescriptor(state->json ? STDOUT_FILENO : STDERR_FILENO);
  delete g_state.exchange(state.release());
}

void ShutdownLogging() {
  const State* state = g_state.load(std::memory_order_acquire);
  if (state != nullptr) state->writer->Close();
}

bool LogEnabled(LogLevel level) {
  const State* state = g_state.load(std::memory_order_acquire);
  return state != nullptr && level >= state->level;
}

void Log(LogLevel level, std::string_view component, std::string_view message, std::initializer_list<LogField> fields) {
  const State* state = g_state.load(std::memory_order_acquire);
  if (state == nullptr || level < state->level) return;
  const absl::Time now = absl::Now();
  state->writer->Write(state->json ? JsonText(level, component, message, fields, now)
                                   : PlainText(level, component, message, fields, now));
}

uint64_t LogLinesDropped() {
  const State* state = g_state.load(std::memory_order_acquire);
  return state == nullptr ? 0 : state->writer->dropped();
}

}  // namespace hadal::base
