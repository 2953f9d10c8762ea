// SPDX-License-Identifier: Apache-2.0
#include "server/http/token_routes.h"

#include <string>
#include <utility>

#include "server/http/codec/completion_codec.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/messages_codec.h"
#include "server/http/codec/response_encoder.h"
#include "server/http/codec/responses_codec.h"

namespace hadal::http {

absl::Status Tokenize(const UnaryContext& context, RequestBody* body, Response* response) {
  absl::StatusOr<TokenizeBody> decoded = DecodeTokenize(body->text, context.max_json_depth);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  service::TokenizeCall call;
  call.model = std::move(decoded->model);
  call.text = std::move(decoded->prompt);
  call.messages = std::move(decoded->messages);
  call.tools = std::move(decoded->tools);
  call.add_special_tokens = decoded->add_special_tokens;
  call.add_generation_prompt = decoded->add_generation_prompt;
  call.thinking = decoded->thinking;
  call.template_arguments_json = std::move(decoded->template_arguments_json);
  call.documents_json = std::move(decoded->documents_json);
  call.parse_special_tokens = decoded->parse_special_tokens;
  absl::StatusOr<service::TokenizeResult> result = context.service->Tokenize(call);
  if (!result.ok()) return result.status();
  std::string ids;
  AppendTokenIds(result->token_ids, &ids);
  JsonWriter json(&response->body);
  json.BeginObject().Key("count").Int(static_cast<int64_t>(result->token_ids.size()));
  json.Key("max_model_len").Int(result->model->info.max_model_len).Key("tokens").Raw(ids).Key("token_strs");
  if (decoded->return_token_strs) {
    json.BeginArray();
    for (const int32_t id : result->token_ids) json.String(TokenText(*result->model->tokenizer, id));
    json.EndArray();
  } else {
    json.Null();
  }
  json.EndObject();
  return absl::OkStatus();
}

absl::Status Detokenize(const UnaryContext& context, RequestBody* body, Response* response) {
  absl::StatusOr<DetokenizeBody> decoded = DecodeDetokenize(body->text, context.max_json_depth);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<std::string> text =
      context.service->Detokenize(decoded->model, decoded->tokens, decoded->skip_special_tokens);
  if (!text.ok()) return text.status();
  JsonWriter(&response->body).BeginObject().Key("prompt").String(*text).EndObject();
  return absl::OkStatus();
}

absl::Status CountTokens(const UnaryContext& context, RequestBody* body, Response* response) {
  absl::StatusOr<MessagesBody> decoded = DecodeMessages(body->text, context.max_json_depth, /*counting=*/true);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<service::TokenizeResult> result = context.service->TokenizeChat(decoded->call);
  if (!result.ok()) return result.status();
  JsonWriter(&response->body)
      .BeginObject()
      .Key("input_tokens")
      .Int(static_cast<int64_t>(result->token_ids.size()))
      .EndObject();
  return absl::OkStatus();
}

absl::Status InputTokens(const UnaryContext& context, RequestBody* body, Response* response) {
  absl::StatusOr<ResponsesBody> decoded = DecodeResponses(body->text, context.max_json_depth);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<service::TokenizeResult> result = context.service->TokenizeChat(decoded->call);
  if (!result.ok()) return result.status();
  JsonWriter json(&response->body);
  json.BeginObject().Key("object").String("response.input_tokens");
  json.Key("input_tokens").Int(static_cast<int64_t>(result->token_ids.size())).EndObject();
  return absl::OkStatus();
}

}  // namespace hadal::http
