// SPDX-License-Identifier: Apache-2.0
#include "server/http/render_route.h"

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/call_body.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/response_encoder.h"

namespace hadal::http {
namespace {

void WriteSampling(const service::RenderedCall& call, JsonWriter& json) {
  const models::SamplingParams& sampling = call.request->sampling;
  const service::StopOptions& stopping = call.options.stopping;
  json.Key("sampling_params").BeginObject();
  json.Key("n").Int(call.request->n);
  json.Key("temperature").Float(sampling.temperature).Key("top_p").Float(sampling.top_p);
  json.Key("top_k").Int(sampling.top_k).Key("min_p").Float(sampling.min_p);
  json.Key("presence_penalty").Float(sampling.presence_penalty);
  json.Key("frequency_penalty").Float(sampling.frequency_penalty);
  json.Key("repetition_penalty").Float(sampling.repetition_penalty);
  json.Key("seed");
  if (call.options.sampling.seed.has_value()) {
    json.Int(static_cast<int64_t>(*call.options.sampling.seed));
  } else {
    json.Null();
  }
  json.Key("max_tokens").Int(call.request->max_tokens).Key("min_tokens").Int(call.request->min_tokens);
  json.Key("ignore_eos").Bool(call.request->ignore_eos);
  json.Key("stop").BeginArray();
  for (const std::string& text : stopping.stop) json.String(text);
  json.EndArray().Key("stop_token_ids").BeginArray();
  for (const int32_t id : stopping.stop_token_ids) json.Int(id);
  json.EndArray().EndObject();
}

void WriteCall(const service::RenderedCall& call, const ResponsePlan& plan, std::string_view request_id,
               JsonWriter& json) {
  std::string ids;
  AppendTokenIds(call.request->prompt, &ids);
  json.BeginObject().Key("request_id").String(request_id).Key("token_ids").Raw(ids).Key("features").Null();
  WriteSampling(call, json);
  json.Key("model").String(plan.model.empty() ? call.model->name : plan.model);
  json.Key("stream").Bool(plan.stream).Key("stream_options").Null().Key("cache_salt");
  if (call.options.cache_salt.empty()) {
    json.Null();
  } else {
    json.String(call.options.cache_salt);
  }
  json.Key("priority").Int(0).Key("kv_transfer_params").Null().EndObject();
}

Route GeneratingRoute(Route route) {
  switch (route) {
    case Route::kRenderPlain:
      return Route::kCompletions;
    case Route::kRenderMessages:
      return Route::kMessages;
    case Route::kRenderResponses:
      return Route::kResponses;
    default:
      return Route::kChat;
  }
}

}  // namespace

absl::Status Render(const UnaryContext& context, RequestBody* body, Response* response) {
  service::GenerateService& service = *context.service;
  absl::StatusOr<CallBody> decoded = DecodeCallBody(body->text, GeneratingRoute(context.route), context.max_json_depth,
                                                    /*priority_from_header=*/false, service);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  auto& calls = decoded->request.calls;
  const std::string id = absl::StrCat(base::View(decoded->plan.id_prefix), context.request_id);
  const bool list = context.route == Route::kRenderPlain;
  JsonWriter json(&response->body);
  if (list) json.BeginArray();
  for (size_t i = 0; i < calls.size(); ++i) {
    absl::StatusOr<service::RenderedCall> call =
        std::visit([&service](auto& one) { return service.Render(std::move(one)); }, calls[i]);
    if (!call.ok()) return call.status();
    WriteCall(*call, decoded->plan, calls.size() > 1 ? absl::StrCat(id, "-", i) : id, json);
  }
  if (list) json.EndArray();
  return absl::OkStatus();
}

}  // namespace hadal::http
