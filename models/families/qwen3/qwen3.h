// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// Qwen3ForCausalLM: R1-0528-Qwen3-8B. Grouped-query attention with a norm over every
// query and key head before the rotation; dense SwiGLU.
const Family& Qwen3Family();

}  // namespace hadal::models
