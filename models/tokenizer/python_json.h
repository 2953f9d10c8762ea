// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hadal::tokenizer {

// Rewrites JSON the way Python's json.dumps(ensure_ascii=False) does: ", " and ": " between values, keys in given
// order, no other escapes than needed. Models were trained on prompts with tool schemas in this form. InvalidArgument
// for bad JSON.
absl::StatusOr<std::string> ToPythonJson(std::string_view json);

// A string in that form, with its quotes.
std::string PythonJsonString(std::string_view text);

}  // namespace hadal::tokenizer
