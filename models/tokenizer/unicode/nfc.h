// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::unicode {

// Unicode normalisation form C of valid UTF-8, with the tables of nfc_tables.h. Time is linear, but n log n in runs of
// combining marks.
std::string ToNfc(std::string_view text);

}  // namespace hadal::unicode
