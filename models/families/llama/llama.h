// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// LlamaForCausalLM: deepseek-llm, deepseek-coder, deepseek-math, R1-Distill-Llama.
const Family& LlamaFamily();

}  // namespace hadal::models
