// SPDX-License-Identifier: Apache-2.0
#include "server/http/admin_routes.h"

#include "server/http/json_writer.h"

namespace hadal::http {
namespace {

void AppendModel(const service::ServedModel& model, std::string_view id, JsonWriter* json) {
  json->BeginObject().Key("id").String(id).Key("object").String("model");
  json->Key("created").Int(model.created_unix_s).Key("owned_by").String("hadal");
  json->Key("root").String(model.name).Key("family").String(model.info.family).Key("dtype").String(model.info.dtype);
  json->Key("max_model_len")
      .Int(model.info.max_model_len)
      .Key("parameters")
      .Int(model.info.parameter_count)
      .EndObject();
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
  json.EndArray().EndObject();
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
