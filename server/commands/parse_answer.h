// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace hadal::commands {

// Answers what `app` could not read of the command line, or the help that was asked for: one line on standard error
// that begins with the command's name and compares an unknown flag with those that there are. The exit code, 2 or 0.
int AnswerParseError(const CLI::App& app, const CLI::ParseError& error);

}  // namespace hadal::commands
