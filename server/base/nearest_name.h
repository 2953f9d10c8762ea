// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal::base {

// The candidate with the smallest edit distance, or "" when none is close.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace hadal::base
