// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <string>

#include "server/base/flag_set.h"
#include "server/base/log.h"

namespace hadal::base {

enum class LogFormat {
  kAuto,  // text when standard error is a terminal, else JSON
  kText,  // lines on standard error
  kJson,  // JSON lines on standard output
};

struct LogOptions {
  LogFormat format = LogFormat::kAuto;
  LogLevel level = LogLevel::kInfo;
  std::string access_log;  // stdout, stderr or a file: a line for each finished request; empty: none

  bool json() const { return format == LogFormat::kJson || (format == LogFormat::kAuto && isatty(STDERR_FILENO) == 0); }

  void AddFlags(FlagSet* flags) {
    AddFormatFlags(flags);
    flags->AddText("access-log", &access_log, "a JSON line for each finished request: stdout, stderr or a file",
                   "none");
  }

  // Those of a program that answers no requests.
  void AddFormatFlags(FlagSet* flags) {
    flags->AddEnum("log-format", &format,
                   {{"auto", LogFormat::kAuto}, {"text", LogFormat::kText}, {"json", LogFormat::kJson}},
                   "auto, text or json", "text on a terminal, else json");
    flags->AddEnum("log-level", &level,
                   {{"debug", LogLevel::kDebug},
                    {"info", LogLevel::kInfo},
                    {"warn", LogLevel::kWarn},
                    {"error", LogLevel::kError}},
                   "debug, info, warn or error");
  }
};

}  // namespace hadal::base
