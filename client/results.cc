// SPDX-License-Identifier: Apache-2.0
#include "client/results.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

namespace hadal::client {
namespace {

// More than any server gives. What it numbers higher is left out, rather than room made for it.
constexpr int kMaxChoices = 1024;
constexpr int kMaxToolCalls = 4096;

constexpr std::pair<v1::FinishReason, const char*> kFinishNames[] = {
    {v1::FINISH_REASON_STOP, "stop"},
    {v1::FINISH_REASON_LENGTH, "length"},
    {v1::FINISH_REASON_TOOL_CALLS, "tool_calls"},
    {v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE, "insufficient_system_resource"}};

std::string FinishName(v1::FinishReason reason) {
  for (const auto& [value, name] : kFinishNames) {
    if (value == reason) return name;
  }
  return "";
}

Logprob LogprobOf(const v1::Logprob& in) {
  return {.token_id = in.token_id(), .token = in.token(), .logprob = in.logprob()};
}

void Append(const google::protobuf::RepeatedPtrField<v1::TokenLogprobs>& in, std::vector<TokenLogprobs>* out) {
  for (const v1::TokenLogprobs& token : in) {
    TokenLogprobs& added = out->emplace_back();
    added.chosen = LogprobOf(token.chosen());
    for (const v1::Logprob& top : token.top()) added.top.push_back(LogprobOf(top));
  }
}

void Encode(const Logprob& in, v1::Logprob* out) {
  out->set_token_id(in.token_id);
  out->set_token(in.token);
  out->set_logprob(in.logprob);
}

void Encode(const std::vector<TokenLogprobs>& in, google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* out) {
  for (const TokenLogprobs& token : in) {
    v1::TokenLogprobs* const added = out->Add();
    Encode(token.chosen, added->mutable_chosen());
    for (const Logprob& top : token.top) Encode(top, added->add_top());
  }
}

void Append(const v1::ToolCallDelta& delta, std::vector<ToolCall>* calls) {
  if (delta.index() < 0 || delta.index() >= kMaxToolCalls) return;
  if (delta.index() >= static_cast<int>(calls->size())) calls->resize(delta.index() + 1);
  ToolCall& call = (*calls)[delta.index()];
  call.id += delta.id();
  call.name += delta.name();
  call.arguments += delta.arguments();
}

// `Part` is a Choice, or a GenerationResult for the first one.
template <typename Part>
void AppendToChoice(const v1::GenerateResponse& response, Part* choice) {
  choice->text += response.text();
  choice->reasoning += response.reasoning();
  if (response.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    choice->finish_reason = FinishName(response.finish_reason());
  }
  for (const v1::ToolCallDelta& delta : response.tool_calls()) Append(delta, &choice->tool_calls);
  choice->token_ids.insert(choice->token_ids.end(), response.token_ids().begin(), response.token_ids().end());
  Append(response.logprobs(), &choice->logprobs);
}

template <typename Part>
v1::GenerateResponse EncodeChoice(const Part& choice, int index) {
  v1::GenerateResponse response;
  response.set_index(index);
  response.set_text(choice.text);
  response.set_reasoning(choice.reasoning);
  for (const auto& [value, name] : kFinishNames) {
    if (name == choice.finish_reason) response.set_finish_reason(value);
  }
  int call = 0;
  for (const ToolCall& made : choice.tool_calls) {
    v1::ToolCallDelta* const delta = response.add_tool_calls();
    delta->set_index(call++);
    delta->set_id(made.id);
    delta->set_name(made.name);
    delta->set_arguments(made.arguments);
  }
  response.mutable_token_ids()->Assign(choice.token_ids.begin(), choice.token_ids.end());
  Encode(choice.logprobs, response.mutable_logprobs());
  return response;
}

template <typename T>
void MoveTo(std::vector<T>* all, std::vector<T> more) {
  all->insert(all->end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace

Piece PieceOf(const v1::GenerateResponse& response) {
  Piece piece = {.reasoning = response.reasoning(), .text = response.text(), .choice = response.index()};
  for (const v1::ToolCallDelta& delta : response.tool_calls()) {
    piece.tool_calls.push_back({delta.index(), delta.id(), delta.name(), delta.arguments()});
  }
  piece.token_ids.assign(response.token_ids().begin(), response.token_ids().end());
  Append(response.logprobs(), &piece.logprobs);
  piece.finish_reason = FinishName(response.finish_reason());
  return piece;
}

void Append(Piece piece, Piece* all) {
  all->reasoning += piece.reasoning;
  all->text += piece.text;
  MoveTo(&all->tool_calls, std::move(piece.tool_calls));
  MoveTo(&all->token_ids, std::move(piece.token_ids));
  MoveTo(&all->logprobs, std::move(piece.logprobs));
  if (!piece.finish_reason.empty()) all->finish_reason = std::move(piece.finish_reason);
}

void Append(const v1::GenerateResponse& response, GenerationResult* result) {
  if (!response.request_id().empty()) result->request_id = response.request_id();
  if (!response.model().empty()) result->model = response.model();
  result->prompt_token_ids.insert(result->prompt_token_ids.end(), response.prompt_token_ids().begin(),
                                  response.prompt_token_ids().end());
  Append(response.prompt_logprobs(), &result->prompt_logprobs);
  if (response.has_usage()) {
    result->prompt_tokens = response.usage().prompt_tokens();
    result->completion_tokens = response.usage().completion_tokens();
    result->reasoning_tokens = response.usage().reasoning_tokens();
    result->cached_prompt_tokens = response.usage().prompt_cache_hit_tokens();
  }
  if (response.index() == 0) return AppendToChoice(response, result);
  if (response.index() < 0 || response.index() >= kMaxChoices) return;
  const size_t other = response.index() - 1;
  if (other >= result->other_choices.size()) result->other_choices.resize(other + 1);
  AppendToChoice(response, &result->other_choices[other]);
}

std::vector<v1::GenerateResponse> ResponsesOf(const GenerationResult& result) {
  std::vector<v1::GenerateResponse> responses = {EncodeChoice(result, 0)};
  for (const Choice& choice : result.other_choices) {
    responses.push_back(EncodeChoice(choice, static_cast<int>(responses.size())));
  }
  v1::GenerateResponse& first = responses.front();
  first.set_request_id(result.request_id);
  first.set_model(result.model);
  first.mutable_prompt_token_ids()->Assign(result.prompt_token_ids.begin(), result.prompt_token_ids.end());
  Encode(result.prompt_logprobs, first.mutable_prompt_logprobs());
  v1::Usage* const usage = responses.back().mutable_usage();
  usage->set_prompt_tokens(result.prompt_tokens);
  usage->set_completion_tokens(result.completion_tokens);
  usage->set_reasoning_tokens(result.reasoning_tokens);
  usage->set_prompt_cache_hit_tokens(result.cached_prompt_tokens);
  usage->set_prompt_cache_miss_tokens(result.prompt_tokens - result.cached_prompt_tokens);
  return responses;
}

}  // namespace hadal::client
