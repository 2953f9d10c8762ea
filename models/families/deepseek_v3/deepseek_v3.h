// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// DeepseekV3ForCausalLM: V3, R1, V3.1 and their descendants (arXiv:2412.19437). Latent attention
// in every layer; a dense SwiGLU in the first layers, mixtures of experts after them. The layer for multi-token
// prediction is left aside.
const Family& DeepseekV3Family();

}  // namespace hadal::models
