// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "models/grammar/grammar_compiler.h"
#include "models/grammar/schema_limits.h"
#include "server/service/calls.h"
#include "server/service/served_model.h"

namespace hadal::service {

// The constraint on a call's output, and the field that requested it.
struct CallGrammar {
  grammar::GrammarSpec spec;
  std::string param;
  bool partial = false;  // the grammar does not enforce everything in the schema of a tool that is not strict
};

// The state in which the model's text begins, determined by the rendered prompt.
struct TextBegin {
  bool in_reasoning = false;        // the prompt ends inside <think>
  bool may_open_reasoning = false;  // the model may open <think> itself
};

// Nullopt if nothing constrains the call: plain text, and no tool that is strict or forced. With tools and a response
// format the answer is either a call or in the format; if a call is forced, only a call. INVALID_REQUEST names the
// field and the part of its schema, or a combination that is not supported.
absl::StatusOr<std::optional<CallGrammar>> GrammarOf(const ChatCall& call, const ServedModel& model, TextBegin begin,
                                                     const grammar::SchemaLimits& limits);
absl::StatusOr<std::optional<CallGrammar>> GrammarOf(const GenerateCall& call, const ServedModel& model,
                                                     const grammar::SchemaLimits& limits);

}  // namespace hadal::service
