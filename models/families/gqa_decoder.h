// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "models/families/family.h"

namespace hadal::models {

// Grouped-query attention and a feed-forward part, dense or experts, in every layer: llama, qwen2, qwen3 and
// deepseek_moe, which differ in what their configuration says about biases, head norms, rotary scaling and experts.
Family GqaDecoderFamily(std::string name);

}  // namespace hadal::models
