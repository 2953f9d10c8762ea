// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/messages_codec.h"

#include <simdjson.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/common_codec.h"
#include "server/http/codec/foreign_fields.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using base::View;
using request::MakeError;
using request::Reason;
using simdjson::dom::element;
using simdjson::dom::object;

// "adaptive" and "between_tools" leave the amount to the model, as "enabled" does here.
absl::Status ReadThinking(const element& value, MessagesBody* out) {
  object fields;
  std::string type, display;
  absl::Status status = ReadObject(value, "thinking", &fields);
  if (status.ok()) status = ReadMember(fields, "thinking", "type", &type);
  if (status.ok()) status = ReadOptionalMember(fields, "thinking", "display", &display);
  if (!status.ok()) return status;
  if (type != "enabled" && type != "disabled" && type != "adaptive" && type != "between_tools") {
    return UnknownWord("thinking.type", type, "\"enabled\", \"disabled\" or \"adaptive\"");
  }
  if (!display.empty() && display != "summarized" && display != "omitted") {
    return UnknownWord("thinking.display", display, "\"summarized\" or \"omitted\"");
  }
  if (const std::optional<element> budget = FindMember(fields, "budget_tokens")) {
    status = ReadInt(*budget, "thinking.budget_tokens", &out->call.max_thinking_tokens);
    if (!status.ok()) return status;
  }
  out->call.thinking = type != "disabled";
  out->response.omit_thinking = display == "omitted";
  return absl::OkStatus();
}

// {"type": "json_schema", "schema": {...}}
absl::Status ReadFormat(const element& value, std::string_view path, service::ResponseFormat* format) {
  object fields;
  std::string type;
  absl::Status status = ReadObject(value, path, &fields);
  if (status.ok()) status = ReadMember(fields, path, "type", &type);
  if (!status.ok()) return status;
  if (type != "json_schema") {
    return UnknownWord(absl::StrCat(View(path), ".type"), type, "\"json_schema\"");
  }
  const absl::StatusOr<element> schema = NeededMember(fields, path, "schema");
  if (!schema.ok()) return schema.status();
  if (!schema->is_object()) return WrongType(absl::StrCat(View(path), ".schema"), "an object", *schema);
  *format = {.kind = service::ResponseFormat::Kind::kJsonSchema, .schema_json = simdjson::minify(*schema)};
  return absl::OkStatus();
}

absl::Status ReadOutputConfig(const element& value, service::ChatCall* call) {
  object fields;
  if (absl::Status status = ReadObject(value, "output_config", &fields); !status.ok()) return status;
  std::string effort;
  absl::Status status = ReadOptionalMember(fields, "output_config", "effort", &effort);
  if (status.ok() && !effort.empty()) status = service::SetReasoningEffort(effort, call);
  if (!status.ok()) return status;
  const std::optional<element> format = FindMember(fields, "format");
  if (!format.has_value()) return absl::OkStatus();
  return ReadFormat(*format, "output_config.format", &call->options.response_format);
}

absl::Status ReadTools(const element& value, service::ChatCall* call) {
  return ReadFlatTools(value,
                       {.type = "custom",
                        .type_may_miss = true,
                        .schema_key = "input_schema",
                        .left_out = "a tool of /v1/messages is left out: the server runs none itself"},
                       call);
}

// `none`: the tools are not to be shown to the model.
absl::Status ReadMessagesToolChoice(const element& value, service::ChatCall* call, bool* none) {
  object fields;
  std::string type;
  absl::Status status = ReadObject(value, "tool_choice", &fields);
  if (status.ok()) status = ReadMember(fields, "tool_choice", "type", &type);
  if (!status.ok()) return status;
  if (const std::optional<element> alone = FindMember(fields, "disable_parallel_tool_use")) {
    bool disabled = false;
    status = ReadBool(*alone, "tool_choice.disable_parallel_tool_use", &disabled);
    if (!status.ok()) return status;
    call->parallel_tool_calls = !disabled;
  }
  *none = type == "none";
  if (type == "tool") {
    call->tool_choice = service::ToolChoice::kNamed;
    return ReadMember(fields, "tool_choice", "name", &call->tool_name);
  }
  if (type == "any") call->tool_choice = service::ToolChoice::kRequired;
  if (type == "any" || type == "auto" || type == "none") return absl::OkStatus();
  return UnknownWord("tool_choice.type", type, "\"auto\", \"any\", \"tool\" or \"none\"");
}

absl::Status ReadMetadata(const element& value, service::CallOptions* options) {
  object fields;
  if (absl::Status status = ReadObject(value, "metadata", &fields); !status.ok()) return status;
  return ReadOptionalMember(fields, "metadata", "user_id", &options->user);
}

// Both are the class of the key.
absl::Status ReadServiceTier(const element& value) {
  std::string tier;
  absl::Status status = ReadString(value, "service_tier", &tier);
  if (!status.ok() || tier == "auto" || tier == "standard_only") return status;
  return UnknownWord("service_tier", tier, "\"auto\" or \"standard_only\"");
}

}  // namespace

absl::StatusOr<MessagesBody> DecodeMessages(std::string_view body, int max_depth, bool counting) {
  MessagesBody out;
  service::ChatCall& call = out.call;
  service::CallOptions& options = call.options;
  std::string system;
  bool no_tools = false;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    if (name == "model") return ReadString(value, name, &options.model);
    if (name == "max_tokens") return ReadInt(value, name, &options.stopping.max_tokens);
    if (name == "system") return ReadSystem(value, &system);
    if (name == "messages") {
      call.messages.clear();
      call.message_paths.clear();
      return ReadTurns(value, &call);
    }
    if (name == "stream") return ReadBool(value, name, &out.response.stream);
    if (name == "stop_sequences") return ReadStop(value, name, &options.stopping.stop);
    if (name == "temperature") return ReadFloat(value, name, &options.sampling.temperature);
    if (name == "top_p") return ReadFloat(value, name, &options.sampling.top_p);
    if (name == "top_k") return ReadInt(value, name, &options.sampling.top_k);
    if (name == "seed") return ReadSeed(value, name, &options.sampling.seed);
    if (name == "cache_salt") return ReadString(value, name, &options.cache_salt);
    if (name == "metadata") return ReadMetadata(value, &options);
    if (name == "service_tier") return ReadServiceTier(value);
    if (name == "thinking") return ReadThinking(value, &out);
    if (name == "max_thinking_tokens") return ReadInt(value, name, &call.max_thinking_tokens);
    if (name == "reasoning_control") return ReadBool(value, name, &call.reasoning_control);
    if (name == "output_config") return ReadOutputConfig(value, &call);
    if (name == "output_format") return ReadFormat(value, name, &options.response_format);
    if (name == "tools") return ReadTools(value, &call);
    if (name == "tool_choice") return ReadMessagesToolChoice(value, &call, &no_tools);
    return ReadForeignConstraint(name, value, &options.response_format).status();
  });
  if (!parsed.ok()) return parsed;
  if (!counting && !options.stopping.max_tokens.has_value()) {
    return InvalidField("max_tokens", "`max_tokens` is missing: at most so many tokens are generated");
  }
  PrependSystem(std::move(system), "system", &call);
  if (no_tools) HideTools(&call);
  return out;
}

}  // namespace hadal::http
