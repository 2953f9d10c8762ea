// SPDX-License-Identifier: Apache-2.0
#include "client/requests.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace hadal::client {
namespace {

void Fill(const GenerationOptions& options, v1::SamplingParams* sampling) {
  if (options.temperature >= 0) sampling->set_temperature(static_cast<float>(options.temperature));
  if (options.top_p >= 0) sampling->set_top_p(static_cast<float>(options.top_p));
  if (options.seed.has_value()) sampling->set_seed(*options.seed);
  if (options.top_k.has_value()) sampling->set_top_k(*options.top_k);
  if (options.min_p.has_value()) sampling->set_min_p(static_cast<float>(*options.min_p));
  if (options.repetition_penalty.has_value()) {
    sampling->set_repetition_penalty(static_cast<float>(*options.repetition_penalty));
  }
  if (options.frequency_penalty.has_value()) {
    sampling->set_frequency_penalty(static_cast<float>(*options.frequency_penalty));
  }
  if (options.presence_penalty.has_value()) {
    sampling->set_presence_penalty(static_cast<float>(*options.presence_penalty));
  }
  for (const auto& [token, bias] : options.logit_bias) {
    (*sampling->mutable_logit_bias())[token] = static_cast<float>(bias);
  }
}

void Fill(const GenerationOptions& options, v1::StopConditions* stopping) {
  if (options.max_tokens > 0) stopping->set_max_tokens(options.max_tokens);
  stopping->mutable_stop()->Assign(options.stop.begin(), options.stop.end());
  stopping->mutable_stop_token_ids()->Assign(options.stop_token_ids.begin(), options.stop_token_ids.end());
  stopping->set_min_tokens(options.min_tokens);
  stopping->set_ignore_eos(options.ignore_eos);
}

// What the two requests have in common. The priority is in the metadata.
template <typename Request>
void Fill(const GenerationOptions& options, Request* request) {
  request->set_model(options.model);
  Fill(options, request->mutable_sampling());
  Fill(options, request->mutable_stopping());
  if (options.logprobs.has_value()) request->set_logprobs(*options.logprobs);
  request->set_n(options.n);
  request->set_return_token_ids(options.return_token_ids);
  request->set_cache_salt(options.cache_salt);
  request->set_user(options.user);
  if (!options.json_schema.empty()) {
    request->mutable_response_format()->set_json_schema(options.json_schema);
  } else if (options.json_object) {
    request->mutable_response_format()->set_json_object(true);
  }
}

void Fill(const Message& message, v1::ChatMessage* out) {
  out->set_role(message.role);
  out->set_content(message.content);
  out->set_reasoning_content(message.reasoning);
  out->set_prefix(message.prefix);
  out->set_tool_call_id(message.tool_call_id);
  for (const ToolCall& call : message.tool_calls) {
    v1::ToolCall* made = out->add_tool_calls();
    made->set_id(call.id);
    made->set_name(call.name);
    made->set_arguments(call.arguments);
  }
}

v1::ToolChoice ChoiceOf(ToolChoice choice) {
  switch (choice) {
    case ToolChoice::kAuto:
      return v1::TOOL_CHOICE_AUTO;
    case ToolChoice::kNone:
      return v1::TOOL_CHOICE_NONE;
    case ToolChoice::kRequired:
      return v1::TOOL_CHOICE_REQUIRED;
    case ToolChoice::kNamed:
      return v1::TOOL_CHOICE_NAMED;
  }
  return v1::TOOL_CHOICE_AUTO;
}

void FillTools(const ChatOptions& options, v1::ChatRequest* request) {
  for (const ToolDefinition& tool : options.tools) {
    v1::ToolDefinition* out = request->add_tools();
    out->set_name(tool.name);
    out->set_description(tool.description);
    out->set_parameters_json_schema(tool.parameters_json_schema);
    out->set_strict(tool.strict);
  }
  request->set_tool_choice(ChoiceOf(options.tool_choice));
  request->set_tool_name(options.tool_name);
  if (options.parallel_tool_calls.has_value()) request->set_parallel_tool_calls(*options.parallel_tool_calls);
}

}  // namespace

v1::ChatRequest RequestOf(const ChatOptions& options) {
  v1::ChatRequest request;
  Fill(options, &request);
  for (const Message& message : options.messages) Fill(message, request.add_messages());
  if (options.thinking >= 0) request.set_thinking(options.thinking == 1);
  if (options.max_thinking_tokens >= 0) request.set_max_thinking_tokens(options.max_thinking_tokens);
  request.set_reasoning_control(options.reasoning_control);
  request.set_reasoning_effort(options.reasoning_effort);
  request.set_chat_template_kwargs(options.chat_template_kwargs);
  for (const std::string& document : options.documents) request.add_documents(document);
  FillTools(options, &request);
  return request;
}

v1::GenerateRequest RequestOf(const CompletionOptions& options) {
  v1::GenerateRequest request;
  Fill(options, &request);
  if (options.token_ids.empty()) {
    request.set_text(options.prompt);
  } else {
    request.mutable_token_ids()->mutable_ids()->Assign(options.token_ids.begin(), options.token_ids.end());
  }
  if (options.suffix.has_value()) request.set_suffix(*options.suffix);
  if (options.parse_special_tokens.has_value()) request.set_parse_special_tokens(*options.parse_special_tokens);
  request.set_echo_logprobs(options.echo_logprobs);
  return request;
}

v1::TokenizeRequest RequestOf(const TokenizeOptions& options) {
  v1::TokenizeRequest request;
  request.set_model(options.model);
  request.set_text(options.text);
  for (const Message& message : options.messages) Fill(message, request.add_messages());
  if (options.add_special_tokens.has_value()) request.set_add_special_tokens(*options.add_special_tokens);
  if (options.thinking >= 0) request.set_thinking(options.thinking == 1);
  if (options.parse_special_tokens.has_value()) request.set_parse_special_tokens(*options.parse_special_tokens);
  request.set_chat_template_kwargs(options.chat_template_kwargs);
  for (const std::string& document : options.documents) request.add_documents(document);
  return request;
}

v1::DetokenizeRequest RequestOf(const DetokenizeOptions& options) {
  v1::DetokenizeRequest request;
  request.set_model(options.model);
  request.mutable_token_ids()->Assign(options.token_ids.begin(), options.token_ids.end());
  request.set_skip_special_tokens(options.skip_special_tokens);
  return request;
}

bool FitsMetadata(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> MetadataOf(const GenerationOptions& options) {
  std::vector<std::pair<std::string, std::string>> metadata;
  const struct {
    const char* option;
    const char* name;
    const std::string& value;
  } texts[] = {{"priority", "x-hadal-priority", options.priority},
               {"traceparent", "traceparent", options.traceparent},
               {"tracestate", "tracestate", options.tracestate},
               {"request_id", "x-request-id", options.request_id},
               {"response_cache", "x-hadal-cache", options.response_cache}};
  for (const auto& [option, name, value] : texts) {
    if (!FitsMetadata(value)) {
      return absl::InvalidArgumentError(absl::StrCat(option, " must be printable ASCII, since it goes into metadata"));
    }
    if (!value.empty()) metadata.emplace_back(name, value);
  }
  if (!options.may_queue) metadata.emplace_back("x-hadal-queue", "no");
  if (!options.allow_degraded) metadata.emplace_back("x-hadal-allow-degraded", "0");
  if (options.first_token_within != absl::InfiniteDuration()) {
    metadata.emplace_back("x-llm-d-slo-ttft-ms", absl::StrCat(absl::ToInt64Milliseconds(options.first_token_within)));
  }
  return metadata;
}

}  // namespace hadal::client
