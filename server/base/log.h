// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "server/base/json_line.h"

namespace hadal::base {

// Asynchronous log lines that never block the caller: lines go through a bounded queue to one writer thread; when the
// sink is slow the oldest are dropped and counted (LogLinesDropped). Prompts and outputs must never be passed in.

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

struct LogField {
  std::string_view key;
  LogValue value;
};

struct LogOptions;

// Starts the writer, once, before threads exist. Before it, and after ShutdownLogging, lines are discarded.
void InitLogging(const LogOptions& options);
// Writes what is queued and stops the writer. Takes a second at most when nobody reads the lines: the rest is lost.
void ShutdownLogging();

bool LogEnabled(LogLevel level);
// Text form: `2026-11-20 14:23:45,123 WARN [component] message key=value`. Any thread.
void Log(LogLevel level, std::string_view component, std::string_view message,
         std::initializer_list<LogField> fields = {});

uint64_t LogLinesDropped();

}  // namespace hadal::base
