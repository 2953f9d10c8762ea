// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/request_codec.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/request/refusal.h"
#include "server/rpc/message_codec.h"
#include "server/service/limits.h"

namespace hadal::rpc {
namespace {

void DecodeSampling(const v1::SamplingParams& in, service::SamplingOptions* out) {
  if (in.has_temperature()) out->temperature = in.temperature();
  if (in.has_top_p()) out->top_p = in.top_p();
  if (in.has_top_k()) out->top_k = in.top_k();
  if (in.has_min_p()) out->min_p = in.min_p();
  if (in.has_repetition_penalty()) out->repetition_penalty = in.repetition_penalty();
  if (in.has_frequency_penalty()) out->frequency_penalty = in.frequency_penalty();
  if (in.has_presence_penalty()) out->presence_penalty = in.presence_penalty();
  if (in.has_seed()) out->seed = in.seed();
  for (const auto& [token, bias] : in.logit_bias()) out->logit_bias.emplace_back(token, bias);
}

void DecodeStopping(const v1::StopConditions& in, service::StopOptions* out) {
  if (in.has_max_tokens()) out->max_tokens = in.max_tokens();
  out->min_tokens = in.min_tokens();
  out->stop.assign(in.stop().begin(), in.stop().end());
  out->stop_token_ids.assign(in.stop_token_ids().begin(), in.stop_token_ids().end());
  out->ignore_eos = in.ignore_eos();
}

absl::Status OutOfRange(absl::string_view field, int32_t value, absl::string_view wanted) {
  return request::MakeError(request::Reason::kOutOfRange,
                            absl::StrCat("`", field, "` is ", value, "; it must be ", wanted),
                            std::string_view(field.data(), field.size()));
}

// Fields that ChatRequest and GenerateRequest share.
template <typename Message>
absl::Status DecodeCommon(const Message& in, service::CallOptions* out) {
  // A class of a later version of this file must not pass for no wish at all.
  if (!v1::Priority_IsValid(in.priority())) return OutOfRange("priority", in.priority(), "one that Priority names");
  if (in.has_logprobs() && (in.logprobs() < 0 || in.logprobs() > service::kMaxTopLogprobs)) {
    return OutOfRange("logprobs", in.logprobs(), absl::StrCat("from 0 to ", service::kMaxTopLogprobs));
  }
  out->model = in.model();
  out->user = in.user();
  out->cache_salt = in.cache_salt();
  DecodeSampling(in.sampling(), &out->sampling);
  DecodeStopping(in.stopping(), &out->stopping);
  out->n = in.n() == 0 ? 1 : in.n();
  if (in.has_logprobs()) out->top_logprobs = in.logprobs();
  out->return_token_ids = in.return_token_ids();
  using Kind = service::ResponseFormat::Kind;
  if (in.response_format().json_object()) out->response_format.kind = Kind::kJsonObject;
  if (in.response_format().format_case() == v1::ResponseFormat::kJsonSchema) {
    out->response_format = {Kind::kJsonSchema, in.response_format().json_schema()};
  }
  return absl::OkStatus();
}

absl::Status DecodeTools(const v1::ChatRequest& in, service::ChatCall* call) {
  if (!v1::ToolChoice_IsValid(in.tool_choice())) {
    return OutOfRange("tool_choice", in.tool_choice(), "one that ToolChoice names");
  }
  if (in.tool_choice() == v1::TOOL_CHOICE_NONE) return absl::OkStatus();
  for (const v1::ToolDefinition& tool : in.tools()) {
    call->tools.push_back({tool.name(), tool.description(), tool.parameters_json_schema()});
    call->strict_tools.push_back(tool.strict());
  }
  if (in.tool_choice() == v1::TOOL_CHOICE_REQUIRED) call->tool_choice = service::ToolChoice::kRequired;
  if (in.tool_choice() == v1::TOOL_CHOICE_NAMED) call->tool_choice = service::ToolChoice::kNamed;
  call->tool_name = in.tool_name();
  if (in.has_parallel_tool_calls()) call->parallel_tool_calls = in.parallel_tool_calls();
  return absl::OkStatus();
}

chat::ChatMessage DecodeMessage(const v1::ChatMessage& in) {
  chat::ChatMessage out;
  out.role = in.role();
  out.content = in.content();
  out.reasoning_content = in.reasoning_content();
  out.tool_call_id = in.tool_call_id();
  out.prefix = in.prefix();
  for (const v1::ToolCall& call : in.tool_calls()) out.tool_calls.push_back({call.id(), call.name(), call.arguments()});
  return out;
}

// What ChatRequest and TokenizeRequest hold for a template in Jinja, into ChatCall or TokenizeCall.
template <typename Message, typename Call>
absl::Status DecodeTemplateInputs(const Message& in, Call* call) {
  if (!in.chat_template_kwargs().empty()) {
    const absl::StatusOr<std::optional<bool>> thinking = service::ThinkingIn(in.chat_template_kwargs());
    if (!thinking.ok()) return thinking.status();
    call->thinking = *thinking;
    call->template_arguments_json = in.chat_template_kwargs();
  }
  if (in.documents_size() > 0) call->documents_json = absl::StrCat("[", absl::StrJoin(in.documents(), ","), "]");
  if (in.has_thinking()) call->thinking = in.thinking();
  return absl::OkStatus();
}

template <typename Message, typename Call>
absl::StatusOr<service::DecodedRequest> DecodeBytes(const grpc::ByteBuffer& bytes, bool priority_in_metadata,
                                                    absl::StatusOr<Call> (*decode)(const Message&)) {
  Message message;
  if (absl::Status status = ParseMessage(bytes, &message); !status.ok()) return status;
  absl::StatusOr<Call> call = decode(message);
  if (!call.ok()) return call.status();
  service::DecodedRequest request;
  request.body_bytes = static_cast<int64_t>(bytes.Length());
  if (!priority_in_metadata) request.priority = DecodePriority(message.priority());
  request.calls.emplace_back(*std::move(call));
  return request;
}

v1::FinishReason EncodeFinish(service::Finish finish) {
  switch (finish) {
    case service::Finish::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case service::Finish::kStop:
      return v1::FINISH_REASON_STOP;
    case service::Finish::kLength:
      return v1::FINISH_REASON_LENGTH;
    case service::Finish::kToolCalls:
      return v1::FINISH_REASON_TOOL_CALLS;
    case service::Finish::kInsufficientSystemResource:
      return v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void EncodeLogprob(int32_t token_id, float logprob, const tokenizer::Tokenizer& tokenizer, v1::Logprob* out) {
  out->set_token_id(token_id);
  out->set_token(std::string(tokenizer.TokenBytes(token_id)));
  out->set_logprob(logprob);
}

void EncodeScored(const service::ScoredToken& in, const tokenizer::Tokenizer& tokenizer, v1::TokenLogprobs* out) {
  EncodeLogprob(in.token_id, in.logprob, tokenizer, out->mutable_chosen());
  for (const request::TokenLogprob& top : in.top) EncodeLogprob(top.token_id, top.logprob, tokenizer, out->add_top());
}

void EncodeDelta(const service::ChoiceDelta& in, const tokenizer::Tokenizer* tokenizer, v1::GenerateResponse* out) {
  out->set_index(in.choice);
  out->set_text(in.text);
  out->set_reasoning(in.reasoning);
  out->mutable_token_ids()->Add(in.token_ids.begin(), in.token_ids.end());
  for (const service::ScoredToken& token : in.logprobs) EncodeScored(token, *tokenizer, out->add_logprobs());
  for (const service::ToolDelta& tool : in.tool_calls) {
    v1::ToolCallDelta* delta = out->add_tool_calls();
    delta->set_index(tool.index);
    delta->set_id(tool.id);
    delta->set_name(tool.name);
    delta->set_arguments(tool.arguments);
  }
  out->set_finish_reason(EncodeFinish(in.finish));
}

}  // namespace

std::optional<request::Priority> DecodePriority(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_HIGH:
      return request::Priority::kHigh;
    case v1::PRIORITY_NORMAL:
      return request::Priority::kNormal;
    case v1::PRIORITY_LOW:
      return request::Priority::kLow;
    case v1::PRIORITY_BATCH:
      return request::Priority::kBatch;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<service::DecodedRequest> DecodeChatMessage(const grpc::ByteBuffer& message, bool priority_in_metadata) {
  return DecodeBytes(message, priority_in_metadata, &DecodeChat);
}

absl::StatusOr<service::DecodedRequest> DecodeGenerateMessage(const grpc::ByteBuffer& message,
                                                              bool priority_in_metadata) {
  return DecodeBytes(message, priority_in_metadata, &DecodeGenerate);
}

absl::StatusOr<service::ChatCall> DecodeChat(const v1::ChatRequest& message) {
  service::ChatCall call;
  if (absl::Status status = DecodeCommon(message, &call.options); !status.ok()) return status;
  for (const v1::ChatMessage& in : message.messages()) call.messages.push_back(DecodeMessage(in));
  if (absl::Status status = DecodeTools(message, &call); !status.ok()) return status;
  if (absl::Status status = DecodeTemplateInputs(message, &call); !status.ok()) return status;
  if (message.has_max_thinking_tokens()) call.max_thinking_tokens = message.max_thinking_tokens();
  call.reasoning_control = message.reasoning_control();
  if (!message.reasoning_effort().empty()) {
    if (absl::Status status = service::SetReasoningEffort(message.reasoning_effort(), &call); !status.ok())
      return status;
  }
  return call;
}

absl::StatusOr<service::GenerateCall> DecodeGenerate(const v1::GenerateRequest& message) {
  service::GenerateCall call;
  if (absl::Status status = DecodeCommon(message, &call.options); !status.ok()) return status;
  call.options.prompt_logprobs = message.echo_logprobs();
  if (message.has_suffix()) call.suffix = message.suffix();
  if (message.has_parse_special_tokens()) call.parse_special_tokens = message.parse_special_tokens();
  switch (message.prompt_case()) {
    case v1::GenerateRequest::kText:
      call.prompt = message.text();
      break;
    case v1::GenerateRequest::kTokenIds:
      call.prompt = std::vector<int32_t>(message.token_ids().ids().begin(), message.token_ids().ids().end());
      break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      return request::MakeError(request::Reason::kInvalidRequest, "one of 'text' and 'token_ids' is required",
                                "prompt");
  }
  return call;
}

absl::StatusOr<service::TokenizeCall> DecodeTokenize(const v1::TokenizeRequest& message) {
  service::TokenizeCall call;
  call.model = message.model();
  call.text = message.text();
  for (const v1::ChatMessage& in : message.messages()) call.messages.push_back(DecodeMessage(in));
  if (message.has_add_special_tokens()) call.add_special_tokens = message.add_special_tokens();
  if (absl::Status status = DecodeTemplateInputs(message, &call); !status.ok()) return status;
  if (message.has_parse_special_tokens()) call.parse_special_tokens = message.parse_special_tokens();
  return call;
}

AnswerHead HeadOf(const service::ActiveCall& call) {
  return {.request_id = call.request_id(),
          .model = call.model().name,
          .tokenizer = call.model().tokenizer.get(),
          .prompt_token_ids = call.returns_token_ids() ? &call.prompt_token_ids() : nullptr};
}

void EncodeUpdate(const service::CallUpdate& update, const AnswerHead& call, bool first,
                  std::vector<v1::GenerateResponse>* out) {
  const size_t begin = out->size();
  for (const service::ChoiceDelta& delta : update.deltas) EncodeDelta(delta, call.tokenizer, &out->emplace_back());
  const bool finished = update.done && update.status.ok();
  if (out->size() == begin && (finished || !update.prompt_scores.empty())) out->emplace_back();
  if (out->size() == begin) return;

  if (first) {
    v1::GenerateResponse& head = (*out)[begin];
    head.set_request_id(std::string(call.request_id));
    head.set_model(std::string(call.model));
    if (call.prompt_token_ids != nullptr) {
      head.mutable_prompt_token_ids()->Add(call.prompt_token_ids->begin(), call.prompt_token_ids->end());
    }
  }
  for (const service::ScoredToken& token : update.prompt_scores) {
    EncodeScored(token, *call.tokenizer, (*out)[begin].add_prompt_logprobs());
  }
  if (finished) {
    v1::Usage* usage = out->back().mutable_usage();
    usage->set_prompt_tokens(update.usage.prompt_tokens);
    usage->set_completion_tokens(update.usage.completion_tokens);
    usage->set_reasoning_tokens(update.usage.reasoning_tokens);
    usage->set_prompt_cache_hit_tokens(update.usage.cache_hit_tokens);
    usage->set_prompt_cache_miss_tokens(update.usage.cache_miss_tokens());
  }
}

void EncodeModels(const std::vector<std::shared_ptr<const service::ServedModel>>& models, v1::ListModelsResponse* out) {
  for (const auto& model : models) {
    v1::ModelInfo* info = out->add_models();
    info->set_id(model->name);
    info->set_family(model->info.family);
    info->set_max_model_len(model->info.max_model_len);
    info->set_parameters(model->info.parameter_count);
    info->set_dtype(model->info.dtype);
  }
}

void EncodeLoad(const service::Load& load, v1::GetLoadResponse* out) {
  out->set_requests_running(load.requests_running);
  out->set_requests_waiting(load.requests_waiting);
  out->set_queue_limit_requests(load.queue_limit_requests);
  out->set_queue_tokens(load.queue_tokens);
  out->set_kv_cache_usage_ratio(load.kv_cache_usage_ratio);
  out->set_memory_budget_bytes(load.memory_budget_bytes);
  out->set_memory_committed_bytes(load.memory_committed_bytes);
  out->set_predicted_wait_seconds(load.predicted_wait_seconds);
  out->set_ready(load.ready);
  out->set_draining(load.draining);
}

}  // namespace hadal::rpc
