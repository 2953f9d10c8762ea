// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/http/codec/json_body.h"
#include "server/service/calls.h"

namespace hadal::http {

// OpenAI's {"mode", "tools"} of a tool_choice "allowed_tools", which stands at `path`: sets whether a call is forced
// and the names of the functions that are allowed. A tool is {"type", "name"}, its name inside the member `wrapper`
// unless that is "".
absl::Status ReadAllowedTools(const simdjson::dom::object& fields, std::string_view path, std::string_view wrapper,
                              service::ChatCall* call, std::optional<std::vector<std::string>>* names);
// Hides all other tools, once they have been read. INVALID_REQUEST for a name that is none of them.
absl::Status KeepAllowedTools(const std::vector<std::string>& names, service::ChatCall* call);

}  // namespace hadal::http
