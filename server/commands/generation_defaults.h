// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/service/served_model.h"

namespace hadal::commands {

// Sampling defaults of a checkpoint's generation_config.json: temperature, top_p, top_k, min_p, repetition_penalty,
// which are those that vLLM and SGLang take from it. With "do_sample": false the temperature is 0, as for transformers.
// max_new_tokens and max_length are left alone: here a call without a limit may use what the context leaves.
// Without the file everything is left to the service's own defaults. InvalidArgument names file and field for a value
// of the wrong type or out of range.
absl::StatusOr<service::GenerationDefaults> ReadGenerationDefaults(const std::string& dir);

}  // namespace hadal::commands
