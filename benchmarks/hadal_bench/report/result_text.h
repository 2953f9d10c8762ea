// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace hadal::bench {

// One element of "runs" as a page for the terminal, with warnings about what makes its figures doubtful.
std::string RunText(const nlohmann::ordered_json& run);

}  // namespace hadal::bench
