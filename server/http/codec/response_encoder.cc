// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/response_encoder.h"

#include "base/utf8.h"
#include "server/http/codec/json_body.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/response.h"

namespace hadal::http {
namespace {

// Nesting of a call's arguments that are passed on as an object.
constexpr int kMaxArgumentsDepth = 256;

}  // namespace

void AppendUsage(const service::Usage& usage, bool reasoning, std::string* out) {
  JsonWriter json(out);
  json.BeginObject();
  json.Key("prompt_tokens").Int(usage.prompt_tokens);
  json.Key("completion_tokens").Int(usage.completion_tokens);
  json.Key("total_tokens").Int(int64_t{usage.prompt_tokens} + usage.completion_tokens);
  json.Key("prompt_cache_hit_tokens").Int(usage.cache_hit_tokens);
  json.Key("prompt_cache_miss_tokens").Int(usage.cache_miss_tokens());
  json.Key("prompt_tokens_details").BeginObject().Key("cached_tokens").Int(usage.cache_hit_tokens).EndObject();
  if (reasoning) {
    json.Key("completion_tokens_details").BeginObject().Key("reasoning_tokens").Int(usage.reasoning_tokens).EndObject();
  }
  json.EndObject();
}

namespace {

void AppendScoredToken(const service::ScoredToken& token, const tokenizer::Tokenizer& tokenizer, JsonWriter* json) {
  const auto append_token = [&](int32_t id, float logprob) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    json->Key("token").String(TokenText(tokenizer, id)).Key("logprob").Float(logprob).Key("bytes").BeginArray();
    for (const char byte : bytes) json->Int(static_cast<unsigned char>(byte));
    json->EndArray();
  };
  json->BeginObject();
  append_token(token.token_id, token.logprob);
  json->Key("top_logprobs").BeginArray();
  for (const request::TokenLogprob& top : token.top) {
    json->BeginObject();
    append_token(top.token_id, top.logprob);
    json->EndObject();
  }
  json->EndArray().EndObject();
}

}  // namespace

void AppendScoredTokens(const std::vector<service::ScoredToken>& tokens, bool reasoning,
                        const tokenizer::Tokenizer& tokenizer, JsonWriter* json) {
  json->BeginArray();
  for (const service::ScoredToken& token : tokens) {
    if (token.reasoning == reasoning) AppendScoredToken(token, tokenizer, json);
  }
  json->EndArray();
}

void AppendScoredTokens(const std::vector<service::ScoredToken>& tokens, const tokenizer::Tokenizer& tokenizer,
                        JsonWriter* json) {
  json->BeginArray();
  for (const service::ScoredToken& token : tokens) AppendScoredToken(token, tokenizer, json);
  json->EndArray();
}

void AppendArguments(std::string_view arguments, JsonWriter* json) {
  const auto ignore = [](std::string_view, const simdjson::dom::element&) { return absl::OkStatus(); };
  if (arguments.empty()) {
    json->BeginObject().EndObject();
  } else if (ParseObject(arguments, kMaxArgumentsDepth, ignore).ok()) {
    json->Raw(arguments);
  } else {
    json->BeginObject().Key("INVALID_JSON").String(arguments).EndObject();
  }
}

std::string TokenText(const tokenizer::Tokenizer& tokenizer, int32_t token_id) {
  const std::string_view bytes = tokenizer.TokenBytes(token_id);
  std::string text = base::ToValidUtf8(bytes);
  if (text == bytes) return text;
  constexpr char kHex[] = "0123456789abcdef";
  text = "bytes:";
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    text += {'\\', 'x', kHex[value >> 4], kHex[value & 15]};
  }
  return text;
}

void AppendTokenIds(const std::vector<int32_t>& ids, std::string* out) {
  out->push_back('[');
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out->push_back(',');
    AppendJsonNumber(int64_t{ids[i]}, out);
  }
  out->push_back(']');
}

void ResponseEncoder::Fail(const absl::Status& status, std::string* out) {
  out->append("data: ").append(ErrorObject(status)).append("\n\n");
}

std::string_view ResponseEncoder::KeepAlive() const { return kKeepAliveEvent; }

std::string_view ResponseEncoder::StreamType() const { return "text/event-stream; charset=utf-8"; }

}  // namespace hadal::http
