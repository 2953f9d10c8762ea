// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace hadal::client {

// SHA-256 of the parts, each with its length; 64 hexadecimal digits.
std::string Digest(std::initializer_list<std::string_view> parts);

}  // namespace hadal::client
