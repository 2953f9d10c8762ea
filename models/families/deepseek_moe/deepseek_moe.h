// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// DeepseekForCausalLM, model_type "deepseek": DeepSeek-MoE-16B (arXiv:2401.06066). Multi-head
// attention; a dense SwiGLU in the first layers, then experts chosen by softmax and weighed with their raw
// probabilities unless norm_topk_prob, beside shared ones.
const Family& DeepseekMoeFamily();

}  // namespace hadal::models
