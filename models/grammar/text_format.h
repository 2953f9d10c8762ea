// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/grammar/grammar_compiler.h"
#include "models/grammar/schema_limits.h"

namespace hadal::grammar {

// The whole answer is one of `choices`, byte for byte. InvalidArgument without a choice, for an empty one, and above
// limits.max_enum_values and limits.max_bytes.
absl::StatusOr<GrammarSpec> ChoiceSpec(const std::vector<std::string>& choices, Reasoning reasoning,
                                       const SchemaLimits& limits);

// The whole answer matches `pattern` (ECMA-262, see CheckTextPattern). InvalidArgument for what cannot be followed
// exactly, and above limits.max_pattern_bytes.
absl::StatusOr<GrammarSpec> RegexSpec(std::string_view pattern, Reasoning reasoning, const SchemaLimits& limits);

}  // namespace hadal::grammar
