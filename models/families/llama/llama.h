// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// LlamaForCausalLM: deepseek-llm, deepseek-coder, deepseek-math, R1-Distill-Llama (deepseek-models.md 2.1, 4.1, 5.3).
const Family& LlamaFamily();

}  // namespace hadal::models
