// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace hadal::chat {

// 64-bit FNV-1a of a template's text.
uint64_t TemplateHash(std::string_view text);

// Whether the text is, byte for byte, one of the templates that a built-in style was written for and is tested against:
// those of DeepSeek's releases, and the demo model's. The built-in styles say more than some of these texts (they show
// tools, and open the markers of every round of calls).
bool IsPublishedTemplate(std::string_view text);

}  // namespace hadal::chat
