// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/message.h"

namespace hadal::client {

struct Logprob {
  int32_t token_id = 0;
  std::string token;  // its bytes; they may be a part of a UTF-8 character
  float logprob = 0;  // natural logarithm
};

// Of one token.
struct TokenLogprobs {
  Logprob chosen;
  std::vector<Logprob> top;  // the most probable alternatives; as many as were asked for
};

// What has come of a tool call since the last piece.
struct ToolCallPiece {
  int index = 0;          // which call of its choice
  std::string id;         // in a call's first piece
  std::string name;       // in a call's first piece
  std::string arguments;  // what follows of the JSON text
};

// What has come of one choice since the last piece.
struct Piece {
  std::string reasoning;
  std::string text;
  int choice = 0;  // from 0; with `n` they come in any order
  std::vector<ToolCallPiece> tool_calls = {};
  std::vector<int32_t> token_ids = {};       // with `return_token_ids`
  std::vector<TokenLogprobs> logprobs = {};  // with `logprobs`
  std::string finish_reason = "";            // in a choice's last piece
};

// One of several answers.
struct Choice {
  std::string text;
  std::string reasoning;
  std::string finish_reason;  // "stop", "length", "tool_calls", "insufficient_system_resource"
  std::vector<ToolCall> tool_calls;
  std::vector<int32_t> token_ids;       // with `return_token_ids`
  std::vector<TokenLogprobs> logprobs;  // with `logprobs`
};

struct GenerationResult {
  std::string request_id;  // the server's name for it
  // Of the first choice, as in Choice:
  std::string text;
  std::string reasoning;
  std::string finish_reason;
  // Of all choices together:
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int reasoning_tokens = 0;      // of the completion
  int cached_prompt_tokens = 0;  // of the prompt, found in the server's prefix cache
  bool from_cache = false;       // of this client; nothing was asked
  // Of the first choice again:
  std::vector<ToolCall> tool_calls;
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprobs> logprobs;

  std::vector<Choice> other_choices;           // with `n` above 1: the second and so on
  std::string model;                           // that has answered
  std::vector<int32_t> prompt_token_ids;       // with `return_token_ids`
  std::vector<TokenLogprobs> prompt_logprobs;  // with `echo_logprobs`; the prompt's first token has none
  // What the server did, where it says so; empty in what comes from this client's cache.
  std::string response_cache;  // hit, coalesced, miss or bypass, with GenerationOptions::response_cache
  std::string degraded;        // how the answer is less than what was asked for
};

}  // namespace hadal::client
