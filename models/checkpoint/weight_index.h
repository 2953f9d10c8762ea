// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace hadal::checkpoint {

// The weight_map of model.safetensors.index.json: tensor name to shard file name. Every shard name is a plain file name
// that ends in ".safetensors". InvalidArgument names the file, the tensor, expected and found.
absl::StatusOr<std::map<std::string, std::string>> ParseWeightIndex(absl::string_view text, absl::string_view path);

}  // namespace hadal::checkpoint
