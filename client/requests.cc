// SPDX-License-Identifier: Apache-2.0
#include "client/requests.h"

namespace hadal::client {
namespace {

std::string FinishName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_TOOL_CALLS:
      return "tool_calls";
    case v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE:
      return "insufficient_system_resource";
    default:
      return "";
  }
}

void Fill(const GenerationOptions& options, v1::SamplingParams* sampling, v1::StopConditions* stopping) {
  if (options.temperature >= 0) sampling->set_temperature(static_cast<float>(options.temperature));
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
  }
  if (options.thinking >= 0) request.set_thinking(options.thinking == 1);
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

void Append(const v1::GenerateResponse& response, GenerationResult* result) {
  result->text += response.text();
  result->reasoning += response.reasoning();
  if (response.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    result->finish_reason = FinishName(response.finish_reason());
  }
  if (response.has_usage()) {
    result->prompt_tokens = response.usage().prompt_tokens();
    result->completion_tokens = response.usage().completion_tokens();
  }
}

}  // namespace hadal::client
