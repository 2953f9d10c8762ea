// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "models/chat/chat_template.h"
#include "server/request/request.h"
#include "server/response_cache/cache_control.h"

namespace hadal::service {

// A call as decoded from JSON or protobuf, not yet validated. Plain data. Fields that the caller omitted are nullopt or
// empty; Validate() checks limits and ranges for both fronts.

struct SamplingOptions {
  std::optional<float> temperature;                   // [0, 2]
  std::optional<float> top_p;                         // [0, 1]; 0 is greedy
  std::optional<int32_t> top_k;                       // >= 0; 0 is off, and so is -1
  std::optional<float> min_p;                         // [0, 1]
  std::optional<float> repetition_penalty;            // (0, 10]
  std::optional<float> frequency_penalty;             // [-2, 2]
  std::optional<float> presence_penalty;              // [-2, 2]
  std::optional<uint64_t> seed;                       // random when left out
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id to [-100, 100]
};

struct StopOptions {
  std::optional<int32_t> max_tokens;  // >= 0; left out: what the context leaves
  bool cap_max_tokens = false;        // more than the context leaves is what it leaves, and no error
  int32_t min_tokens = 0;             // >= 0, at most max_tokens
  std::vector<std::string> stop;      // the text ends before the first match
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
};

// What the output must be.
struct ResponseFormat {
  enum class Kind : uint8_t { kText, kJsonObject, kJsonSchema, kChoice, kRegex };
  Kind kind = Kind::kText;
  std::string schema_json;           // kJsonSchema: JSON Schema as the caller sent it
  std::vector<std::string> choices;  // kChoice: the answer is one of them
  std::string regex;                 // kRegex: all of the answer matches it
  std::string field;                 // that said so, for errors; "": response_format
};

// Common to chat and plain generation.
struct CallOptions {
  std::string model;       // empty: the first model served
  std::string request_id;  // unique; the front end makes one when the caller sent none
  std::string trace_id;    // for the log; "": nobody traces the call
  std::string tenant;      // of the API key, or ""
  std::string sender;      // who answers for what the call takes of something shared (SenderOf)
  std::string user;        // end user within the tenant: isolates the prefix cache
  std::string cache_salt;  // further isolation at the caller's request
  request::Priority priority = request::Priority::kNormal;
  absl::Time arrival;  // GenerateService::clock() time
  // As request::Request's.
  absl::Time deadline = absl::InfiniteFuture();
  absl::Time first_token_by = absl::InfiniteFuture();
  bool may_wait = true;
  bool allow_degraded = true;   // an answer of the degradation ladder is better than a refusal
  bool upstream_first = false;  // that of another server is better than a fixed text
  response_cache::CacheControl cache;
  SamplingOptions sampling;
  StopOptions stopping;
  int32_t n = 1;                        // 1..16
  std::optional<int32_t> top_logprobs;  // 0..20; left out: no log-probabilities
  bool prompt_logprobs = false;
  ResponseFormat response_format;
  bool return_token_ids = false;
  bool skip_special_tokens = true;
};

// "none" is an empty list of tools.
enum class ToolChoice : uint8_t { kAuto, kRequired, kNamed };

struct ChatCall {
  CallOptions options;
  std::vector<chat::ChatMessage> messages;
  std::vector<std::string> message_paths;  // where each stood in the body, for errors; empty: messages[i]
  std::vector<chat::ChatTool> tools;       // empty when tool_choice is "none"
  std::vector<bool> strict_tools;          // of each tool: its arguments must follow its schema; may be shorter
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;            // kNamed
  bool parallel_tool_calls = true;  // false: a call that is forced or strict comes alone
  std::optional<bool> thinking;     // left out: the alias's, else the template's own
  chat::ReasoningEffort reasoning_effort = chat::ReasoningEffort::kDefault;
  std::optional<int32_t> max_thinking_tokens;  // >= 0; reasoning is ended after so many; left out: no limit
  bool reasoning_control = false;              // reasoning may be ended from outside (ThinkingControls)
  std::string template_arguments_json;         // chat_template_kwargs: an object, for templates in Jinja; may be empty
  std::string documents_json;                  // list of objects, for templates in Jinja; may be empty
};

struct GenerateCall {
  CallOptions options;
  std::variant<std::string, std::vector<int32_t>> prompt;  // text, or token ids used as they are
  std::optional<std::string> suffix;                       // fill in the middle; only with a text prompt
  // Control tokens written in the text become control tokens; left out: the server's default.
  std::optional<bool> parse_special_tokens;
  bool add_special_tokens = true;  // those that the tokenizer puts around a text; none for a text with a hole
};

// Reads the API's effort into `call`: "none" turns thinking off, the others are low (minimal, low), high (medium, high)
// or the most (xhigh, max, ultra). OUT_OF_RANGE for another name.
absl::Status SetReasoningEffort(std::string_view effort, ChatCall* call);

// What chat_template_kwargs says of thinking, for styles that are no Jinja templates: its `thinking` or
// `enable_thinking`; the last one that is not null counts. INVALID_REQUEST for what is no JSON object, OUT_OF_RANGE for
// anything but a boolean.
absl::StatusOr<std::optional<bool>> ThinkingIn(std::string_view template_arguments_json);

// INVALID_REQUEST or OUT_OF_RANGE with the field's name in ErrorDetail::param. Needs no model.
absl::Status Validate(const ChatCall& call);
absl::Status Validate(const GenerateCall& call);

}  // namespace hadal::service
