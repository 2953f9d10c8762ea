// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/message.h"

namespace hadal::client {

// What chats and completions have in common. What is left out is the checkpoint's default, else the one said here. A
// server refuses what is out of its range: InvalidArgument names the field.
struct GenerationOptions {
  std::string model;                                   // empty: the server's first
  double temperature = -1;                             // negative: the checkpoint's default; 0 is greedy
  double top_p = -1;                                   // negative: the checkpoint's default
  std::optional<uint64_t> seed;                        // the same seed and prompt give the same tokens; none: random
  int max_tokens = 0;                                  // 0: what the context leaves
  std::vector<std::string> stop;                       // the text ends before the first of them
  std::string priority;                                // high, normal, low, batch; empty: normal
  absl::Duration deadline = absl::InfiniteDuration();  // of all attempts together; the channel's where that is shorter
  // No piece comes, only the end and its result. In exchange a response that broke off is asked for again, within the
  // same deadline, attempts and budget, since nobody has seen a part of it.
  bool whole = false;
  // W3C trace context of the caller; a server that traces makes its span a part of it. Empty: none.
  std::string traceparent, tracestate;

  // How tokens are chosen.
  std::optional<int> top_k;                  // 0 or more; 0: off, the default
  std::optional<double> min_p;               // 0 to 1; 0: off, the default
  std::optional<double> repetition_penalty;  // above 0, at most 10; 1: off, the default
  std::optional<double> frequency_penalty;   // -2 to 2; 0: off, the default
  std::optional<double> presence_penalty;    // -2 to 2; 0: off, the default
  std::map<int32_t, double> logit_bias;      // token id to -100..100; at most 1024

  // When the response ends.
  std::vector<int32_t> stop_token_ids;  // at most 16
  int min_tokens = 0;                   // neither an end of sequence nor a stop token before so many
  bool ignore_eos = false;              // goes on behind the model's end of sequence, for benchmarks

  // What it must be, behind its reasoning: any text, one JSON object, or JSON under a schema.
  bool json_object = false;
  std::string json_schema;  // JSON text; instead of `json_object` when not empty

  // What comes back.
  int n = 0;                      // choices, 1 to 16; 0: one
  std::optional<int> logprobs;    // 0 to 20: log-probability of each token and of so many alternatives; none: none
  bool return_token_ids = false;  // of the prompt and of the response

  // Who asks.
  std::string user;        // tenant within the API key, for fairness and isolation
  std::string cache_salt;  // requests share cached prefixes only with the same salt

  // How the server treats the call.
  std::string request_id;  // its name in logs and in the result; empty: the server gives one
  std::string
      response_cache;     // use of the server's response cache (x-hadal-cache): use, max-age=SECONDS, no-cache,
                          // only-if-cached, no-store; empty: none. Any but "use" passes by this client's cache, too
  bool may_queue = true;  // false: a server starts it now or refuses it; refusals are retried as any
  bool allow_degraded = true;  // false: a server in need refuses it instead of, say, giving a shorter answer
  absl::Duration first_token_within = absl::InfiniteDuration();  // a server that cannot keep it refuses at once
};

struct ChatOptions : GenerationOptions {
  std::vector<Message> messages;
  int thinking = -1;               // 1 on, 0 off, -1 the template's default
  int max_thinking_tokens = -1;    // after so many the reasoning is ended; negative: no limit
  bool reasoning_control = false;  // Generation::EndThinking may end it while it runs
  // For models with a chat template of their own:
  std::string chat_template_kwargs;    // JSON object of further variables; empty: none
  std::vector<std::string> documents;  // JSON objects that the answer is to be drawn from

  std::vector<ToolDefinition> tools;  // at most 128
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;                    // with kNamed
  std::optional<bool> parallel_tool_calls;  // false: a forced or strict call comes alone; default true
  std::string reasoning_effort;  // none, minimal, low, medium, high, xhigh, max, ultra; empty: the server's default
};

struct CompletionOptions : GenerationOptions {
  std::string prompt;
  std::vector<int32_t> token_ids;            // instead of `prompt` when not empty
  std::optional<std::string> suffix;         // fills in the middle: the text behind the hole. Needs `prompt`
  std::optional<bool> parse_special_tokens;  // control tokens written in `prompt` become such; default: the server's
  bool echo_logprobs = false;                // with `logprobs`: scores the prompt, too
};

}  // namespace hadal::client
