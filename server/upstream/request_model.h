// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hadal::upstream {

// The JSON object `body` with `model` as the value of its own field "model", which is added where it is missing;
// everything else stays byte for byte. nullopt: it is no JSON object, as far as a scan for that field can tell.
std::optional<std::string> WithModel(std::string_view body, std::string_view model);

}  // namespace hadal::upstream
