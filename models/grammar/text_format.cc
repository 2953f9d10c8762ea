// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/text_format.h"

#include "absl/strings/str_cat.h"
#include "models/grammar/pattern_check.h"

namespace hadal::grammar {

absl::StatusOr<GrammarSpec> ChoiceSpec(const std::vector<std::string>& choices, Reasoning reasoning,
                                       const SchemaLimits& limits) {
  if (choices.empty()) return absl::InvalidArgumentError("there is no choice");
  if (static_cast<int64_t>(choices.size()) > limits.max_enum_values) {
    return absl::InvalidArgumentError(
        absl::StrCat("there are ", choices.size(), " choices; at most ", limits.max_enum_values, " are allowed"));
  }
  GrammarSpec spec{.reasoning = reasoning};
  int64_t bytes = 0;
  for (const std::string& choice : choices) {
    if (choice.empty()) return absl::InvalidArgumentError("a choice is empty");
    bytes += static_cast<int64_t>(choice.size());
    absl::StrAppend(&spec.format, spec.format.empty() ? "" : ",", R"({"type":"const_string","value":)",
                    JsonString(choice), "}");
  }
  if (bytes > limits.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the choices have ", bytes, " bytes; at most ", limits.max_bytes, " are allowed"));
  }
  if (choices.size() > 1) spec.format = absl::StrCat(R"({"type":"or","elements":[)", spec.format, "]}");
  return spec;
}

absl::StatusOr<GrammarSpec> RegexSpec(std::string_view pattern, Reasoning reasoning, const SchemaLimits& limits) {
  if (static_cast<int>(pattern.size()) > limits.max_pattern_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the pattern has ", pattern.size(), " bytes; at most ", limits.max_pattern_bytes, " are allowed"));
  }
  const PatternCheck check = CheckTextPattern(pattern);
  if (!check.problem.empty()) return absl::InvalidArgumentError(check.problem);
  return GrammarSpec{absl::StrCat(R"({"type":"regex","pattern":)", JsonString(check.compiled), "}"), reasoning};
}

}  // namespace hadal::grammar
