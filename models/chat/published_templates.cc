// SPDX-License-Identifier: Apache-2.0
#include "models/chat/published_templates.h"

#include <algorithm>
#include <iterator>

namespace hadal::chat {
namespace {

constexpr uint64_t kPublished[] = {
    0x5111253f4aa4a502,  // V2-Chat, V2-Lite-Chat, Coder-V2
    0x17404e1233c13e52,  // V2.5
    0xebe3604156dc466a,  // V3
    0x92ab976ef7444fb6,  // V3.1, V3.1-Terminus, V3.2-Exp
    0x4526f885d718fa95,  // R1
    0xba6def945855a96a,  // R1-0528, R1-0528-Qwen3
    0x845fdf813c637ee2,  // R1-Distill-Qwen, R1-Distill-Llama
    0xfb09370aa39f6763,  // the demo model
};

}  // namespace

uint64_t TemplateHash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

bool IsPublishedTemplate(std::string_view text) {
  return std::find(std::begin(kPublished), std::end(kPublished), TemplateHash(text)) != std::end(kPublished);
}

}  // namespace hadal::chat
