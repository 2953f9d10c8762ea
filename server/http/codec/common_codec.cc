// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/common_codec.h"

#include <simdjson.h>

#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/http/codec/foreign_fields.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using simdjson::dom::element;

absl::Status ReadStopTokenIds(const element& value, std::vector<int32_t>* out) {
  out->clear();
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS)
    return WrongType("stop_token_ids", "an array of integers", value);
  for (const element item : array) {
    if (out->size() > service::kMaxStopTokenIds) break;
    const std::string path = absl::StrCat("stop_token_ids[", out->size(), "]");
    if (absl::Status status = ReadInt(item, path, &out->emplace_back()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadLogitBias(const element& value, std::vector<std::pair<int32_t, float>>* out) {
  out->clear();
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType("logit_bias", "an object", value);
  for (const auto field : object) {
    if (out->size() > service::kMaxLogitBias) break;
    int32_t token = 0;
    const std::string_view key = field.key;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), token);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size()) {
      return InvalidField("logit_bias",
                          absl::StrCat("`logit_bias` has the key \"", base::View(key.substr(0, kShownWordBytes)),
                                       "\", which is no token id"));
    }
    std::optional<float> bias;
    const std::string path = absl::StrCat("logit_bias.", token);
    if (absl::Status status = ReadFloat(field.value, path, &bias); !status.ok()) return status;
    out->emplace_back(token, *bias);
  }
  return absl::OkStatus();
}

absl::Status ReadStreamOptions(const element& value, ResponseOptions* response) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType("stream_options", "an object", value);
  for (const auto field : object) {
    if (field.key != "include_usage" || field.value.is_null()) continue;
    if (absl::Status status = ReadBool(field.value, "stream_options.include_usage", &response->include_usage);
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// {"type": "json_schema", "json_schema": {"name", "schema", "strict"}}. Every schema is enforced, strict or not.
absl::Status ReadJsonSchema(const element& value, service::ResponseFormat* format) {
  constexpr std::string_view kName = "response_format.json_schema";
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType(kName, "an object", value);
  for (const auto field : object) {
    if (field.value.is_null()) continue;
    absl::Status status;
    std::string name;
    bool strict = false;
    if (field.key == "name") status = ReadString(field.value, "response_format.json_schema.name", &name);
    if (field.key == "strict") status = ReadBool(field.value, "response_format.json_schema.strict", &strict);
    if (field.key == "schema") {
      if (!field.value.is_object()) return WrongType("response_format.json_schema.schema", "an object", field.value);
      format->schema_json = simdjson::minify(field.value);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadResponseFormat(const element& value, service::ResponseFormat* format) {
  using Kind = service::ResponseFormat::Kind;
  constexpr std::string_view kSchema = "response_format.schema";
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType("response_format", "an object", value);
  service::ResponseFormat said;
  std::string type;
  for (const auto field : object) {
    if (field.value.is_null()) continue;
    absl::Status status;
    if (field.key == "type") status = ReadString(field.value, "response_format.type", &type);
    if (field.key == "json_schema") status = ReadJsonSchema(field.value, &said);
    // Where llama.cpp and others have the schema; {} says no more than the type does.
    if (field.key == "schema") {
      status = ReadSchemaText(field.value, kSchema, &said.schema_json);
      said.field = kSchema;
      if (said.schema_json == "{}") said.schema_json.clear();
    }
    if (!status.ok()) return status;
  }
  // Without a type a misspelt one would pass for no wish at all.
  if (type.empty()) return InvalidField("response_format.type", "`response_format.type` is missing");
  if (type == "text") return absl::OkStatus();
  if (format->kind != Kind::kText) {
    return InvalidField("response_format", "`response_format` and another field both say what form the answer has");
  }
  if (type != "json_object" && type != "json_schema") {
    return UnknownWord("response_format.type", type, "\"text\", \"json_object\" or \"json_schema\"");
  }
  if (type == "json_schema" && said.schema_json.empty()) {
    return InvalidField("response_format.json_schema.schema", "`response_format.json_schema.schema` is missing");
  }
  said.kind = said.schema_json.empty() ? Kind::kJsonObject : Kind::kJsonSchema;
  *format = std::move(said);
  return absl::OkStatus();
}

// Adds the tool that `fields` describe; `path` is the tool's.
absl::Status ReadFlatTool(const simdjson::dom::object& fields, const std::string& path, std::string_view schema_key,
                          service::ChatCall* call) {
  chat::ChatTool tool;
  bool strict = false;
  absl::Status status = ReadMember(fields, path, "name", &tool.name);
  if (status.ok()) status = ReadOptionalMember(fields, path, "description", &tool.description);
  if (!status.ok()) return status;
  if (const std::optional<element> value = FindMember(fields, "strict")) {
    status = ReadBool(*value, path + ".strict", &strict);
    if (!status.ok()) return status;
  }
  if (const std::optional<element> schema = FindMember(fields, schema_key)) {
    if (!schema->is_object()) return WrongType(absl::StrCat(path, ".", base::View(schema_key)), "an object", *schema);
    tool.parameters_json = simdjson::minify(*schema);
  }
  call->tools.push_back(std::move(tool));
  call->strict_tools.push_back(strict);
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadStop(const element& value, std::string_view path, std::vector<std::string>* out) {
  out->clear();
  if (value.is_string()) return ReadString(value, path, &out->emplace_back());
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS)
    return WrongType(path, "a string or an array of strings", value);
  for (const element item : array) {
    // One more than allowed is enough to be refused by the service's check.
    if (out->size() > service::kMaxStopStrings) break;
    const std::string here = absl::StrCat(base::View(path), "[", out->size(), "]");
    if (absl::Status status = ReadString(item, here, &out->emplace_back()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void HideTools(service::ChatCall* call) {
  call->tools.clear();
  call->strict_tools.clear();
}

absl::Status ReadFlatTools(const element& value, const FlatTools& form, service::ChatCall* call) {
  simdjson::dom::array array;
  if (absl::Status status = ReadArray(value, "tools", &array); !status.ok()) return status;
  HideTools(call);
  size_t index = 0;
  for (const element item : array) {
    if (call->tools.size() > service::kMaxTools) break;
    const std::string path = absl::StrCat("tools[", index++, "]");
    simdjson::dom::object fields;
    std::string type;
    absl::Status status = ReadObject(item, path, &fields);
    if (status.ok()) {
      status = form.type_may_miss ? ReadOptionalMember(fields, path, "type", &type)
                                  : ReadMember(fields, path, "type", &type);
    }
    if (!status.ok()) return status;
    if (type != form.type && !(type.empty() && form.type_may_miss)) {
      base::Log(base::LogLevel::kInfo, "http", form.left_out,
                {{"type", std::string_view(type).substr(0, kShownWordBytes)}});
      continue;
    }
    status = ReadFlatTool(fields, path, form.schema_key, call);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void PrependSystem(std::string text, std::string_view path, service::ChatCall* call) {
  if (text.empty()) return;
  chat::ChatMessage message;
  message.role = "system";
  message.content = std::move(text);
  call->messages.insert(call->messages.begin(), std::move(message));
  call->message_paths.emplace(call->message_paths.begin(), path);
}

absl::StatusOr<bool> ReadCommonField(std::string_view name, const element& value, service::CallOptions* options,
                                     ResponseOptions* response) {
  service::SamplingOptions& sampling = options->sampling;
  service::StopOptions& stopping = options->stopping;
  absl::Status status;
  if (name == "model") {
    status = ReadString(value, name, &options->model);
  } else if (name == "stream") {
    status = ReadBool(value, name, &response->stream);
  } else if (name == "stream_options") {
    status = ReadStreamOptions(value, response);
  } else if (name == "max_tokens" || name == "max_completion_tokens") {
    status = ReadInt(value, name, &stopping.max_tokens);
  } else if (name == "min_tokens") {
    status = ReadInt(value, name, &stopping.min_tokens);
  } else if (name == "temperature") {
    status = ReadFloat(value, name, &sampling.temperature);
  } else if (name == "top_p") {
    status = ReadFloat(value, name, &sampling.top_p);
  } else if (name == "top_k") {
    status = ReadInt(value, name, &sampling.top_k);
  } else if (name == "min_p") {
    status = ReadFloat(value, name, &sampling.min_p);
  } else if (name == "repetition_penalty") {
    status = ReadFloat(value, name, &sampling.repetition_penalty);
  } else if (name == "frequency_penalty") {
    status = ReadFloat(value, name, &sampling.frequency_penalty);
  } else if (name == "presence_penalty") {
    status = ReadFloat(value, name, &sampling.presence_penalty);
  } else if (name == "seed") {
    status = ReadSeed(value, name, &sampling.seed);
  } else if (name == "logit_bias") {
    status = ReadLogitBias(value, &sampling.logit_bias);
  } else if (name == "stop") {
    status = ReadStop(value, name, &stopping.stop);
  } else if (name == "stop_token_ids") {
    status = ReadStopTokenIds(value, &stopping.stop_token_ids);
  } else if (name == "ignore_eos") {
    status = ReadBool(value, name, &stopping.ignore_eos);
  } else if (name == "n") {
    status = ReadInt(value, name, &options->n);
  } else if (name == "user" || name == "user_id") {
    status = ReadString(value, name, &options->user);
  } else if (name == "cache_salt") {
    status = ReadString(value, name, &options->cache_salt);
  } else if (name == "service_tier") {
    status = ReadString(value, name, &response->service_tier);
  } else if (name == "return_token_ids") {
    status = ReadBool(value, name, &response->return_token_ids);
    options->return_token_ids = response->return_token_ids;
  } else if (name == "skip_special_tokens") {
    status = ReadBool(value, name, &options->skip_special_tokens);
  } else if (name == "response_format") {
    status = ReadResponseFormat(value, &options->response_format);
  } else {
    return ReadForeignConstraint(name, value, &options->response_format);
  }
  if (!status.ok()) return status;
  return true;
}

absl::Status CheckResponseOptions(const ResponseOptions& response, bool has_stream_options) {
  if (has_stream_options && !response.stream) {
    return InvalidField("stream_options", "`stream_options` needs `stream` to be true");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<request::Priority>> PriorityOfTier(std::string_view service_tier) {
  if (service_tier.empty() || service_tier == "auto" || service_tier == "default" || service_tier == "standard") {
    return std::optional<request::Priority>();
  }
  if (service_tier == "priority") return std::optional(request::Priority::kHigh);
  if (service_tier == "flex") return std::optional(request::Priority::kLow);
  return UnknownWord("service_tier", service_tier, "\"auto\", \"default\", \"priority\" or \"flex\"");
}

}  // namespace hadal::http
