// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "models/families/family.h"

namespace hadal::models {

// DeepseekV4ForCausalLM: V4-Flash, V4-Pro and their refreshes (arXiv:2606.19348). Hyper-connections
// around every sublayer; attention over a sliding window and compressed entries, chosen by an indexer or all of them;
// experts in every layer, in the first ones chosen by the token itself. mtp.* is ignored.
Family DeepseekV4Family(std::string name);

}  // namespace hadal::models
