// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace hadal::base {

// Debian builds Abseil with a string_view of its own; its functions do not take std::string_view. Free conversion, both
// ways.
inline absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view StdView(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace hadal::base
