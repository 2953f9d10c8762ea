// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/grammar/thinking_limit.h"
#include "server/request/request.h"
#include "server/response_cache/lookup.h"
#include "server/service/active_call.h"
#include "server/service/calls.h"
#include "server/service/pending_grammar.h"
#include "server/service/served_model.h"
#include "server/service/thinking_control.h"

namespace hadal::service {

// A call that has been validated, rendered and tokenised; its grammar may still be pending. Plain data, filled by
// GenerateService::Prepare.
struct PreparedCall {
  CallOptions options;
  std::shared_ptr<const ServedModel> model;
  std::vector<int32_t> prompt;
  std::string_view prompt_param;  // field to blame when the prompt is too long
  bool chat = false;
  bool reasoning = false;  // the output may have a reasoning part
  bool thinking = false;   // it has been asked for one, or is a model's that decides itself
  chat::OutputParser::Options parser;
  std::shared_ptr<const chat::ParameterTypes> parameter_types;    // what `parser` points to
  std::shared_ptr<PendingGrammar> grammar;                        // null when the output is unconstrained
  std::string grammar_param;                                      // field to blame when it cannot be compiled
  std::string grammar_text;                                       // of `grammar`: equal texts are equal grammars
  bool partial_grammar = false;                                   // see CallGrammar::partial
  std::optional<grammar::ThinkingLimit::Options> thinking_limit;  // without the grammar; nullopt: no limit
  std::shared_ptr<ThinkingSwitch> thinking_switch;                // that limit's; null: nobody may end the reasoning
  absl::Status refusal;  // of admission: only the response cache and the degradation ladder are left for this call
  // What the response cache is asked; null: nothing. What it has said so far: a miss or a bypass, or nothing.
  std::shared_ptr<response_cache::Lookup> lookup;
  response_cache::CacheResult cache_result = response_cache::CacheResult::kNone;
  // The decoded call, for the ladder's rungs that prepare it in another way; empty if there are none.
  std::variant<std::monostate, ChatCall, GenerateCall> original;
};

// CONTEXT_LENGTH_EXCEEDED about the field `param`; `found` continues "your messages ...".
absl::Status ContextExceeded(const ServedModel& model, std::string_view param, std::string_view found);

// Refuses a text that the context cannot hold whatever its tokens are, from its bytes alone.
absl::Status CheckTextFits(const ServedModel& model, size_t text_bytes, std::string_view param);

// The checks that need the model: ids within the vocabulary, a prompt that is not empty, and room in the context for
// the requested output. INVALID_REQUEST or CONTEXT_LENGTH_EXCEEDED with the field's name.
absl::Status CheckCall(const PreparedCall& call);

// The engine's form of a call that passed CheckCall, but its grammar and its stream.
std::unique_ptr<request::Request> RequestOf(const PreparedCall& call);

// The engine's form with the grammar, and `stream`, which may be set later. Waits for the grammar; its error names the
// field that asked for it.
absl::StatusOr<std::unique_ptr<request::Request>> BuildRequest(const PreparedCall& call,
                                                               std::shared_ptr<request::TokenStream> stream);

// The front end's form of the same call, which reads its output from `stream`; uses the call up.
ActiveCall::Options BuildCall(PreparedCall&& call, std::shared_ptr<request::OutputReader> stream);

// INVALID_REQUEST for an id outside the vocabulary, with its place in the field `param`.
absl::Status CheckTokenIds(absl::Span<const int32_t> ids, int32_t vocab_size, std::string_view param);

}  // namespace hadal::service
