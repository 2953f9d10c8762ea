// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace hadal::bench {

// The machine that the generator runs on, in the form of benchmarks/README.md; without the memory bandwidth, which says
// nothing about a generator. With the load average of the last minute.
nlohmann::ordered_json MachineJson();

// The commit that hadal-bench was built from, with "+changes" when the checkout had some; "unknown" outside of one.
std::string BuildCommit();

}  // namespace hadal::bench
