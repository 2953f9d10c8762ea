// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// Qwen2ForCausalLM: R1-Distill-Qwen (deepseek-models.md 2.1, 4.1, 5.3). Like llama, with a bias on q, k and v.
const Family& Qwen2Family();

}  // namespace hadal::models
