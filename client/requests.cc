// SPDX-License-Identifier: Apache-2.0
#include "client/requests.h"

#include <string>
#include <utility>

namespace hadal::client {
namespace {

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

void Fill(const GenerationOptions& options, v1::SamplingParams* sampling, v1::StopConditions* stopping) {
  if (options.temperature >= 0) sampling->set_temperature(static_cast<float>(options.temperature));
  if (options.top_p >= 0) sampling->set_top_p(static_cast<float>(options.top_p));
  if (options.seed.has_value()) sampling->set_seed(*options.seed);
  stopping->mutable_stop()->Assign(options.stop.begin(), options.stop.end());
  if (options.max_tokens > 0) stopping->set_max_tokens(options.max_tokens);
}

}  // namespace

v1::ChatRequest RequestOf(const ChatOptions& options) {
  v1::ChatRequest request;
  request.set_model(options.model);
  Fill(options, request.mutable_sampling(), request.mutable_stopping());
  for (const Message& message : options.messages) {
    v1::ChatMessage* out = request.add_messages();
    out->set_role(message.role);
    out->set_content(message.content);
    out->set_reasoning_content(message.reasoning);
    out->set_prefix(message.prefix);
  }
  if (options.thinking >= 0) request.set_thinking(options.thinking == 1);
  if (options.max_thinking_tokens >= 0) request.set_max_thinking_tokens(options.max_thinking_tokens);
  request.set_reasoning_control(options.reasoning_control);
  request.set_chat_template_kwargs(options.chat_template_kwargs);
  for (const std::string& document : options.documents) request.add_documents(document);
  return request;
}

v1::GenerateRequest RequestOf(const CompletionOptions& options) {
  v1::GenerateRequest request;
  request.set_model(options.model);
  Fill(options, request.mutable_sampling(), request.mutable_stopping());
  if (options.token_ids.empty()) {
    request.set_text(options.prompt);
  } else {
    request.mutable_token_ids()->mutable_ids()->Assign(options.token_ids.begin(), options.token_ids.end());
  }
  return request;
}

double RequestsOf(const v1::GetLoadResponse& load) {
  constexpr double kUnfit = 1e9;
  return (load.ready() && !load.draining() ? 0 : kUnfit) + load.requests_running() + load.requests_waiting();
}

v1::GenerateResponse ResponseOf(const GenerationResult& result) {
  v1::GenerateResponse response;
  response.set_request_id(result.request_id);
  response.set_text(result.text);
  response.set_reasoning(result.reasoning);
  for (const auto& [value, name] : kFinishNames) {
    if (name == result.finish_reason) response.set_finish_reason(value);
  }
  response.mutable_usage()->set_prompt_tokens(result.prompt_tokens);
  response.mutable_usage()->set_completion_tokens(result.completion_tokens);
  response.mutable_usage()->set_reasoning_tokens(result.reasoning_tokens);
  response.mutable_usage()->set_prompt_cache_hit_tokens(result.cached_prompt_tokens);
  return response;
}

void Append(const v1::GenerateResponse& response, GenerationResult* result) {
  if (!response.request_id().empty()) result->request_id = response.request_id();
  result->text += response.text();
  result->reasoning += response.reasoning();
  if (response.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    result->finish_reason = FinishName(response.finish_reason());
  }
  if (response.has_usage()) {
    result->prompt_tokens = response.usage().prompt_tokens();
    result->completion_tokens = response.usage().completion_tokens();
    result->reasoning_tokens = response.usage().reasoning_tokens();
    result->cached_prompt_tokens = response.usage().prompt_cache_hit_tokens();
  }
}

}  // namespace hadal::client
