// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "models/sampling_params.h"
#include "models/token_grammar.h"
#include "server/request/token_stream.h"

namespace hadal::request {

// Scheduling class, most urgent first.
enum class Priority : uint8_t { kHigh = 0, kNormal = 1, kLow = 2, kBatch = 3 };
inline constexpr int kNumPriorities = 4;
inline constexpr std::array<std::string_view, kNumPriorities> kPriorityNames = {"high", "normal", "low", "batch"};

// A decoded, validated and tokenised request: no text, JSON or protobuf after this point. Built by a front-end worker,
// then owned by the queue and by the engine thread. Not thread-safe, except for `stream`.
struct Request {
  std::string id;        // x-request-id; unique in the process
  std::string trace_id;  // for the log: 32 hexadecimal digits, or "": nobody traces it
  std::string tenant;    // API key's tenant, or ""
  Priority priority = Priority::kNormal;
  uint64_t cache_salt = 0;                             // prefix blocks are shared only between equal salts
  absl::Time arrival;                                  // Clock time at which the front end saw the call
  absl::Time deadline = absl::InfiniteFuture();        // of the whole answer
  absl::Time first_token_by = absl::InfiniteFuture();  // of its first token
  bool may_wait = true;                                // false: start at once or refuse

  std::vector<int32_t> prompt;      // token ids, at least one
  models::SamplingParams sampling;  // choice i samples with seed + i
  int32_t n = 1;                    // choices
  int32_t max_tokens = 0;           // per choice; 0 only scores the prompt
  int32_t min_tokens = 0;
  int32_t least_tokens =
      0;  // per choice, unless it is cancelled: what the caller's ways to stop leave; at most max_tokens
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;  // includes the end-of-sequence ids unless ignore_eos
  int32_t top_logprobs = -1;            // -1 off; 0..20: chosen token's log-probability and that many best
  bool thinking = false;                // the output begins with reasoning, or may: it will be long
  bool prompt_logprobs = false;         // score every prompt token from the second on (top_logprobs alternatives)

  // What the output must follow; null: nothing. A choice then ends with the grammar: an end token is sampled exactly
  // where the grammar is complete, whatever min_tokens and ignore_eos say.
  std::shared_ptr<const models::TokenGrammar> grammar;

  std::shared_ptr<TokenStream> stream;  // producer end is the engine's, consumer end the front end's

  // The caller alone decides how long the output becomes; the model has no say.
  bool fixed_length() const { return max_tokens > 0 && least_tokens == max_tokens; }
  // The latest useful time to start it.
  absl::Time StartBy() const { return std::min(deadline, first_token_by); }
  // Tokens that the sequences may occupy at most: prompt once, outputs for each choice.
  int64_t MaxTokens() const { return static_cast<int64_t>(prompt.size()) + static_cast<int64_t>(n) * max_tokens; }
};

}  // namespace hadal::request
