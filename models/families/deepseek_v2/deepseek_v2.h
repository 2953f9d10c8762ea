// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// DeepseekV2ForCausalLM: V2, V2-Lite, V2.5, Coder-V2, Coder-V2-Lite (arXiv:2405.04434). Latent
// attention; a dense SwiGLU in the first layers, then experts chosen by softmax, among all or within the groups that
// hold the best ones, beside shared ones.
const Family& DeepseekV2Family();

}  // namespace hadal::models
