// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// Qwen2ForCausalLM: R1-Distill-Qwen. Like llama, with a bias on q, k and v.
const Family& Qwen2Family();

}  // namespace hadal::models
