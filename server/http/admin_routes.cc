// SPDX-License-Identifier: Apache-2.0
#include "server/http/admin_routes.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "models/chat/fim.h"
#include "server/http/codec/json_writer.h"

namespace hadal::http {
namespace {

// Each is an object with "supported", as in Anthropic's API.
void AppendCapabilities(const service::ServedModel& model, JsonWriter* json) {
  const bool chat = model.chat_template.ok();
  const bool thinking = chat && model.chat_template->has_reasoning();
  const std::pair<std::string_view, bool> capabilities[] = {
      {"chat", chat},
      {"completions", true},
      {"fill_in_the_middle", chat::SupportsFim(*model.tokenizer)},
      {"tools", chat && model.chat_template->tool_syntax() != chat::ToolSyntax::kNone},
      {"thinking", thinking},
      {"thinking_switch", thinking && model.chat_template->has_thinking_switch()},
      {"effort", chat && model.chat_template->style() == chat::ChatStyle::kDeepSeekV4},
      {"structured_outputs", model.grammar_compiler.ok()},
      {"embeddings", false},
      {"image_input", false},
      {"pdf_input", false},
      {"audio_input", false},
  };
  json->Key("capabilities").BeginObject();
  for (const auto& [name, supported] : capabilities) {
    json->Key(name).BeginObject().Key("supported").Bool(supported).EndObject();
  }
  json->EndObject();
}

// What OpenAI's and Anthropic's clients look for, and what hadal knows besides.
void AppendModel(const service::ServedModel& model, std::string_view id, JsonWriter* json) {
  const absl::Time created = absl::FromUnixSeconds(model.created_unix_s);
  const int32_t context = model.info.max_model_len;
  json->BeginObject().Key("id").String(id).Key("object").String("model").Key("type").String("model");
  json->Key("display_name").String(id).Key("lifecycle").String("active");
  json->Key("created").Int(model.created_unix_s).Key("created_at");
  json->String(absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", created, absl::UTCTimeZone())).Key("owned_by").String("hadal");
  json->Key("root").String(model.name).Key("family").String(model.info.family).Key("dtype").String(model.info.dtype);
  json->Key("max_model_len").Int(context).Key("context_length").Int(context);
  json->Key("max_input_tokens").Int(context).Key("max_tokens").Int(context);
  json->Key("parameters").Int(model.info.parameter_count);
  AppendCapabilities(model, json);
  json->EndObject();
}

}  // namespace

Response HealthResponse(const HealthReport& report, Route route) {
  const bool good = route == Route::kHealthLive      ? report.live
                    : route == Route::kHealthStartup ? report.started
                                                     : report.ready;
  Response response;
  response.status = good ? 200 : 503;
  response.headers.emplace_back("cache-control", "no-store");
  JsonWriter json(&response.body);
  json.BeginObject().Key("status").String(good ? "ok" : "unavailable").Key("stage").String(report.stage);
  json.Key("progress").Double(report.progress);
  if (!report.message.empty()) json.Key("message").String(report.message);
  json.EndObject();
  return response;
}

Response ModelsResponse(const std::vector<std::shared_ptr<const service::ServedModel>>& models) {
  Response response;
  JsonWriter json(&response.body);
  json.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (const auto& model : models) AppendModel(*model, model->name, &json);
  json.EndArray().Key("has_more").Bool(false);
  json.Key("first_id").String(models.empty() ? "" : models.front()->name);
  json.Key("last_id").String(models.empty() ? "" : models.back()->name).EndObject();
  return response;
}

Response ModelResponse(const service::ServedModel& model, std::string_view id) {
  Response response;
  JsonWriter json(&response.body);
  AppendModel(model, id, &json);
  return response;
}

Response VersionResponse(std::string_view version) {
  Response response;
  JsonWriter(&response.body).BeginObject().Key("version").String(version).EndObject();
  return response;
}

}  // namespace hadal::http
