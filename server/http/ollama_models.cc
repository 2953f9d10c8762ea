// SPDX-License-Identifier: Apache-2.0
#include "server/http/ollama_models.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "models/chat/fim.h"
#include "server/base/strings.h"
#include "server/http/codec/json_body.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/ollama_codec.h"

namespace hadal::http {
namespace {

using service::ServedModel;

// Ollama's own form of "stays as long as the server does".
constexpr std::string_view kNever = "2318-12-31T23:59:59Z";

std::string TimeText(int64_t unix_s) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(unix_s), absl::UTCTimeZone());
}

std::string SizeText(int64_t parameters) {
  if (parameters >= 1'000'000'000) return absl::StrFormat("%.1fB", static_cast<double>(parameters) / 1e9);
  return absl::StrFormat("%.2fM", static_cast<double>(parameters) / 1e6);
}

void AppendDetails(const ServedModel& model, JsonWriter* json) {
  json->Key("details").BeginObject().Key("parent_model").String("").Key("format").String("safetensors");
  json->Key("family").String(model.info.family).Key("families").BeginArray().String(model.info.family).EndArray();
  json->Key("parameter_size").String(SizeText(model.info.parameter_count));
  json->Key("quantization_level").String(model.info.dtype).EndObject();
}

void AppendListed(const ServedModel& model, bool in_memory, JsonWriter* json) {
  json->BeginObject().Key("name").String(model.name).Key("model").String(model.name);
  json->Key("size").Int(model.info.weights_bytes).Key("digest").String(model.info.fingerprint);
  AppendDetails(model, json);
  if (in_memory) {
    json->Key("expires_at").String(kNever).Key("context_length").Int(model.info.max_model_len);
    json->Key("size_vram").Int(model.info.device == "cpu" ? 0 : model.info.weights_bytes);
  } else {
    json->Key("modified_at").String(TimeText(model.created_unix_s));
  }
  json->EndObject();
}

bool Fills(const ServedModel& model) { return chat::SupportsFim(*model.tokenizer); }
bool Chats(const ServedModel& model) { return model.chat_template.ok(); }
bool HasTools(const ServedModel& model) {
  return Chats(model) && model.chat_template->tool_syntax() != chat::ToolSyntax::kNone;
}

// Not the template, which is none of Go's. Clients look which variables it has: LiteLLM for tools, Continue for a
// suffix.
std::string VariablesOf(const ServedModel& model) {
  std::string text;
  if (Fills(model)) text = "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}";
  absl::StrAppend(&text, Chats(model) ? "{{ .System }}{{ .Messages }}" : "{{ .Prompt }}",
                  HasTools(model) ? "{{ .Tools }}" : "", Fills(model) ? "{{ end }}" : "");
  return text;
}

void AppendShown(const ServedModel& model, JsonWriter* json) {
  const std::string& family = model.info.family;
  json->BeginObject().Key("license").String("").Key("modelfile").String("");
  json->Key("parameters").String(absl::StrCat("num_ctx                        ", model.info.max_model_len));
  json->Key("template").String(VariablesOf(model));
  AppendDetails(model, json);
  json->Key("model_info").BeginObject().Key("general.architecture").String(family);
  json->Key("general.parameter_count").Int(model.info.parameter_count);
  json->Key(absl::StrCat(family, ".context_length")).Int(model.info.max_model_len);
  json->Key(absl::StrCat(family, ".vocab_size")).Int(model.info.vocab_size).EndObject();
  const std::pair<std::string_view, bool> capabilities[] = {
      {"completion", true},
      {"tools", HasTools(model)},
      {"insert", Fills(model)},
      {"thinking", Chats(model) && model.chat_template->has_reasoning()},
  };
  json->Key("capabilities").BeginArray();
  for (const auto& [name, has] : capabilities) {
    if (has) json->String(name);
  }
  json->EndArray().Key("modified_at").String(TimeText(model.created_unix_s)).EndObject();
}

}  // namespace

Response OllamaModelsResponse(const std::vector<std::shared_ptr<const ServedModel>>& models, bool in_memory) {
  Response response;
  JsonWriter json(&response.body);
  json.BeginObject().Key("models").BeginArray();
  for (const auto& model : models) AppendListed(*model, in_memory, &json);
  json.EndArray().EndObject();
  return response;
}

Response OllamaVersionResponse() {
  Response response;
  JsonWriter(&response.body).BeginObject().Key("version").String(kOllamaVersion).EndObject();
  return response;
}

absl::Status ShowOllamaModel(const UnaryContext& context, RequestBody* body, Response* response) {
  std::string name, old_name;
  const absl::Status parsed =
      ParseObject(body->text, context.max_json_depth, [&](std::string_view key, const simdjson::dom::element& value) {
        if (key == "model") return ReadString(value, key, &name);
        if (key == "name") return ReadString(value, key, &old_name);
        return absl::OkStatus();
      });
  if (!parsed.ok()) return parsed;
  if (name.empty()) name = std::move(old_name);
  if (name.empty()) return InvalidField("model", "`model` is missing: the name of the model to show");
  const absl::StatusOr<service::ModelTable::Entry> entry =
      context.service->FindModel(WithoutTag(name, *context.service));
  if (!entry.ok()) return entry.status();
  JsonWriter json(&response->body);
  AppendShown(*entry->model, &json);
  return absl::OkStatus();
}

}  // namespace hadal::http
