// SPDX-License-Identifier: Apache-2.0
#include "server/base/log.h"

#include <spdlog/async.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/base/fd_writer.h"
#include "server/base/log_options.h"
#include "server/base/strings.h"

namespace hadal::base {
namespace {

constexpr size_t kQueueLines = 8192;
// How often a writer that waits for a reader looks whether logging ends, and how long the end then waits for one.
constexpr absl::Duration kReaderPatience = absl::Milliseconds(50);
constexpr auto kLastLinesTime = std::chrono::seconds(1);

// Lines to a descriptor that may be a pipe nobody reads: the writer thread waits for a reader, meanwhile the queue
// drops its oldest lines; but once Close was called it waits no longer than kLastLinesTime.
class LineSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit LineSink(int fd) : fd_(fd) {}
  void Close() { end_.store(Clock::now() + kLastLinesTime); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string_view rest(line.data(), line.size());
    bool ended = false;
    while (!ended) {
      ended = Clock::now() >= end_.load();
      if (WriteFor(fd_, &rest, ended ? absl::ZeroDuration() : kReaderPatience)) return;
    }
  }
  void flush_() override {}

 private:
  using Clock = std::chrono::steady_clock;
  const int fd_;
  std::atomic<Clock::time_point> end_{Clock::time_point::max()};
};

struct State {
  // Destroyed in reverse order: the pool writes its last lines into the sink.
  std::shared_ptr<LineSink> sink;
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;
  bool json = false;
  LogLevel level = LogLevel::kInfo;
};
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

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

struct AppendValue {
  std::string& out;
  bool json;
  void operator()(int64_t value) const { absl::StrAppend(&out, value); }
  void operator()(double value) const { absl::StrAppend(&out, value); }
  void operator()(std::string_view value) const {
    if (json) {
      AppendJsonString(out, value);
    } else {
      out += value;
    }
  }
};

std::string JsonLine(LogLevel level, std::string_view component, std::string_view message,
                     std::initializer_list<LogField> fields, absl::Time now) {
  std::string line = absl::StrCat("{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone()),
                                  "\",\"level\":\"", View(LevelName(level)), "\",\"component\":");
  AppendJsonString(line, component);
  line += ",\"msg\":";
  AppendJsonString(line, message);
  for (const LogField& field : fields) {
    line += ',';
    AppendJsonString(line, field.key);
    line += ':';
    std::visit(AppendValue{line, true}, field.value);
  }
  return line + "}";
}

std::string TextLine(LogLevel level, std::string_view component, std::string_view message,
                     std::initializer_list<LogField> fields, absl::Time now) {
  std::string line = absl::StrCat(absl::FormatTime("%Y-%m-%d %H:%M:%S", now, absl::LocalTimeZone()),
                                  absl::StrFormat(",%03d ", absl::ToUnixMillis(now) % 1000), View(LevelName(level)),
                                  " [", View(component), "] ", View(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", View(field.key), "=");
    std::visit(AppendValue{line, false}, field.value);
  }
  return line;
}

}  // namespace

void InitLogging(const LogOptions& options) {
  auto state = std::make_unique<State>();
  state->json = options.json();
  state->level = options.level;
  state->pool = std::make_shared<spdlog::details::thread_pool>(kQueueLines, 1);
  state->sink = std::make_shared<LineSink>(state->json ? STDOUT_FILENO : STDERR_FILENO);
  state->logger = std::make_shared<spdlog::async_logger>("hadal", state->sink, state->pool,
                                                         spdlog::async_overflow_policy::overrun_oldest);
  state->logger->set_pattern("%v");
  state->logger->set_level(spdlog::level::trace);
  state->logger->flush_on(spdlog::level::trace);
  delete g_state.exchange(state.release());
}

void ShutdownLogging() {
  const std::unique_ptr<State> state(g_state.exchange(nullptr));
  // The pool's destructor writes what is queued and joins its thread.
  if (state != nullptr) state->sink->Close();
}

bool LogEnabled(LogLevel level) {
  const State* state = g_state.load(std::memory_order_acquire);
  return state != nullptr && level >= state->level;
}

void Log(LogLevel level, std::string_view component, std::string_view message, std::initializer_list<LogField> fields) {
  const State* state = g_state.load(std::memory_order_acquire);
  if (state == nullptr || level < state->level) return;
  const absl::Time now = absl::Now();
  state->logger->log(spdlog::level::info, state->json ? JsonLine(level, component, message, fields, now)
                                                      : TextLine(level, component, message, fields, now));
}

uint64_t LogLinesDropped() {
  const State* state = g_state.load(std::memory_order_acquire);
  return state == nullptr ? 0 : state->pool->overrun_counter();
}

}  // namespace hadal::base
