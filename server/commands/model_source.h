// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace hadal::commands {

// The folder of the local Hugging Face cache, as its own tools find it: HF_HUB_CACHE, HF_HOME/hub, or
// ~/.cache/huggingface/hub (XDG_CACHE_HOME counts). It may not exist.
std::string HubCacheDir();

// True for `organisation/name`, as models are called on the hub.
bool IsHubName(const std::string& text);

// The snapshot of a hub name in the cache folder: the one refs/main points at, else the only one there is. Nullopt when
// there is none with a config.json.
std::optional<std::string> FindHubSnapshot(const std::string& cache_dir, const std::string& name);

// Ok for a folder with a config.json and, when weights are wanted, safetensors files. InvalidArgument says what is
// there instead and what to do: a model to download, a GGUF file, weights in another format.
absl::Status CheckModelFolder(const std::string& dir, bool wants_weights);

}  // namespace hadal::commands
