// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "models/families/family.h"

namespace hadal::models {

// Latent attention and a feed-forward part, dense or experts, in every layer: deepseek_v2 and deepseek_v3, which differ
// in how their routers score and choose, and, where the configuration has an indexer, deepseek_v32.
Family MlaDecoderFamily(std::string name);

}  // namespace hadal::models
