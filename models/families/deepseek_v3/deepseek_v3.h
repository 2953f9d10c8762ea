// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// DeepseekV3ForCausalLM: V3, R1, V3.1 and their descendants (deepseek-models.md 2.3, 4.3, 5.5, 5.6). Latent attention
// in every layer; a dense SwiGLU in the first layers, mixtures of experts after them. The layer for multi-token
// prediction is left aside.
const Family& DeepseekV3Family();

}  // namespace hadal::models
