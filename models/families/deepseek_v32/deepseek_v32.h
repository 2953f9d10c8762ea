// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/families/family.h"

namespace hadal::models {

// DeepseekV32ForCausalLM: V3.2-Exp, V3.2, V3.2-Speciale (arXiv:2512.02556): deepseek_v3 with an indexer
// and its own key cache in every layer. Beyond index_topk tokens a query attends to the positions that the
// indexer chooses.
const Family& DeepseekV32Family();

}  // namespace hadal::models
