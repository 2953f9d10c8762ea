// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "server/base/flag_set.h"

namespace hadal::commands {

// What `hadal command` answers to its flags alone, printed, as its exit code: 2 where `status`, of parsing them, says
// what is wrong, and 0 for --help and --print-config. nullopt: it has its work to do. `flags` is null only where
// `status` is no OK.
std::optional<int> AnswerFlags(std::string_view command, const absl::Status& status, const base::ParsedFlags* flags);

}  // namespace hadal::commands
