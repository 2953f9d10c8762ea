// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::bench {

// The subcommands of hadal-bench; each returns the process's exit code: 0 good, 1 nothing was served or the server or a
// file failed, 2 wrong flags, 130 interrupted.
int RunCommand(const std::vector<std::string>& args);
// compare A.json B.json [--html FILE]
int CompareCommand(const std::vector<std::string>& args);

// Prints "hadal-bench: MESSAGE" on stderr and returns `code`.
int FailWith(const absl::Status& status, int code);
// InvalidArgument names the path.
absl::Status WriteText(const std::string& path, const std::string& text);

}  // namespace hadal::bench
