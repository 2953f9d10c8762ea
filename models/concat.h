// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace hadal::models {

// absl::StrCat for std::string_view too: Debian's abseil is built with a string_view of its own.
template <typename... Args>
std::string Concat(const Args&... args) {
  const auto convert = [](const auto& value) -> decltype(auto) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string_view>) {
      return absl::string_view(value.data(), value.size());
    } else {
      return (value);
    }
  };
  return absl::StrCat(convert(args)...);
}

}  // namespace hadal::models
