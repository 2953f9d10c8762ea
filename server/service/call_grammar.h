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

// What constrains a call's output, and the field that asked for it.
struct CallGrammar {
  grammar::GrammarSpec spec;
  std::string param;
  bool partial = false;  // a schema of a tool that is not strict says more than the grammar enforces
};

// Where the model's text begins, which the rendered prompt decides.
struct TextBegin {
  bool in_reasoning = false;        // the prompt ends inside <think>
  bool may_open_reasoning = false;  // the model may open <think> itself
};

// Nullopt when nothing constrains the call: text, and no tool that is strict or must be called. With tools and a
// response format the answer is a call or in the format, and a call alone when one is forced. INVALID_REQUEST names the
// field and the part of its schema; what cannot go together is refused.
absl::StatusOr<std::optional<CallGrammar>> GrammarOf(const ChatCall& call, const ServedModel& model, TextBegin begin,
                                                     const grammar::SchemaLimits& limits);
absl::StatusOr<std::optional<CallGrammar>> GrammarOf(const GenerateCall& call, const ServedModel& model,
                                                     const grammar::SchemaLimits& limits);

}  // namespace hadal::service
