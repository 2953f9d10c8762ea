// SPDX-License-Identifier: Apache-2.0
#include "server/commands/flag_answer.h"

#include <cstdio>
#include <string>

namespace hadal::commands {

std::optional<int> AnswerFlags(std::string_view command, const absl::Status& status, const base::ParsedFlags* flags) {
  if (!status.ok()) {
    std::fprintf(stderr, "hadal %s: %s\n", std::string(command).c_str(), std::string(status.message()).c_str());
    return 2;
  }
  if (flags->help.empty() && !flags->print_config) return std::nullopt;
  std::fputs(flags->help.empty() ? flags->ToToml().c_str() : flags->help.c_str(), stdout);
  return 0;
}

}  // namespace hadal::commands
