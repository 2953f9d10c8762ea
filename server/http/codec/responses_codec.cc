// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/responses_codec.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/allowed_tools.h"
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

// What the response object repeats of the request, and what it says where the request says nothing.
struct Echoed {
  std::string_view name;
  std::string_view otherwise;
};
constexpr std::array kEchoed = {
    Echoed{"instructions", "null"},
    Echoed{"max_output_tokens", "null"},
    Echoed{"metadata", "{}"},
    Echoed{"parallel_tool_calls", "true"},
    Echoed{"reasoning", R"({"effort":null,"summary":null})"},
    Echoed{"temperature", "null"},
    Echoed{"text", R"({"format":{"type":"text"}})"},
    Echoed{"tool_choice", R"("auto")"},
    Echoed{"tools", "[]"},
    Echoed{"top_logprobs", "0"},
    Echoed{"top_p", "null"},
    Echoed{"user", "null"},
};

class Echo {
 public:
  void Take(std::string_view name, const element& value) {
    for (size_t i = 0; i < kEchoed.size(); ++i) {
      if (kEchoed[i].name == name) said_[i] = simdjson::minify(value);
    }
  }
  std::string Members() const {
    std::string members;
    for (size_t i = 0; i < kEchoed.size(); ++i) {
      absl::StrAppend(&members, i > 0 ? "," : "", "\"", View(kEchoed[i].name),
                      "\":", said_[i].empty() ? View(kEchoed[i].otherwise) : View(said_[i]));
    }
    return members;
  }

 private:
  std::array<std::string, kEchoed.size()> said_;
};

// Fields that refer to what a server with a memory would have.
struct Stateful {
  std::string_view name;
  std::string_view instead;
};
constexpr std::array kStateful = {
    Stateful{"previous_response_id", "send the whole conversation as `input`"},
    Stateful{"conversation", "send the whole conversation as `input`"},
    Stateful{"prompt", "send its text as `instructions` or `input`"},
};

absl::Status RefuseStateful(std::string_view name, const element& value) {
  bool wanted = false;
  if (name == "background" && value.get_bool().get(wanted) == simdjson::SUCCESS && wanted) {
    return InvalidField(name, "`background` is not offered: this server answers at once, or as a stream");
  }
  for (const Stateful& field : kStateful) {
    if (field.name != name) continue;
    return InvalidField(
        name, absl::StrCat("`", View(name), "` is not offered: this server stores nothing; ", View(field.instead)));
  }
  return absl::OkStatus();
}

// {"effort", "summary"}; "max_tokens" limits it.
absl::Status ReadReasoningOptions(const element& value, service::ChatCall* call) {
  object fields;
  std::string effort;
  absl::Status status = ReadObject(value, "reasoning", &fields);
  if (status.ok()) status = ReadOptionalMember(fields, "reasoning", "effort", &effort);
  if (!status.ok() || effort.empty()) return status;
  return service::SetReasoningEffort(effort, call);
}

// {"type": "text" | "json_object" | "json_schema", "name", "schema", "strict"}
absl::Status ReadTextFormat(const element& value, service::ResponseFormat* format) {
  using Kind = service::ResponseFormat::Kind;
  object fields;
  std::string type;
  absl::Status status = ReadObject(value, "text.format", &fields);
  if (status.ok()) status = ReadMember(fields, "text.format", "type", &type);
  if (!status.ok() || type == "text") return status;
  if (type == "json_object") {
    *format = {.kind = Kind::kJsonObject};
    return absl::OkStatus();
  }
  if (type != "json_schema") {
    return UnknownWord("text.format.type", type, "\"text\", \"json_object\" or \"json_schema\"");
  }
  const absl::StatusOr<element> schema = NeededMember(fields, "text.format", "schema");
  if (!schema.ok()) return schema.status();
  if (!schema->is_object()) return WrongType("text.format.schema", "an object", *schema);
  *format = {.kind = Kind::kJsonSchema, .schema_json = simdjson::minify(*schema)};
  return absl::OkStatus();
}

absl::Status ReadTextOptions(const element& value, service::ResponseFormat* format) {
  object fields;
  if (absl::Status status = ReadObject(value, "text", &fields); !status.ok()) return status;
  const std::optional<element> said = FindMember(fields, "format");
  return said.has_value() ? ReadTextFormat(*said, format) : absl::OkStatus();
}

absl::Status ReadResponsesTools(const element& value, service::ChatCall* call) {
  return ReadFlatTools(value,
                       {.type = "function",
                        .schema_key = "parameters",
                        .left_out = "a tool of /v1/responses is left out: only functions are offered"},
                       call);
}

// `none`: the tools are not to be shown to the model; `allowed`: only those are.
absl::Status ReadResponsesToolChoice(const element& value, service::ChatCall* call, bool* none,
                                     std::optional<std::vector<std::string>>* allowed) {
  *none = false;
  allowed->reset();
  call->tool_choice = service::ToolChoice::kAuto;
  std::string name;
  if (value.is_object()) {
    object fields;
    std::string type;
    absl::Status status = ReadObject(value, "tool_choice", &fields);
    if (status.ok()) status = ReadMember(fields, "tool_choice", "type", &type);
    if (status.ok() && type == "allowed_tools") return ReadAllowedTools(fields, "tool_choice", "", call, allowed);
    if (status.ok() && type != "function") {
      status = InvalidField("tool_choice", absl::StrCat("`tool_choice.type` is \"", type.substr(0, kShownWordBytes),
                                                        "\"; \"function\" and \"allowed_tools\" are offered"));
    }
    if (!status.ok()) return status;
    call->tool_choice = service::ToolChoice::kNamed;
    return ReadMember(fields, "tool_choice", "name", &call->tool_name);
  }
  if (!ReadString(value, "tool_choice", &name).ok()) return WrongType("tool_choice", "a string or an object", value);
  *none = name == "none";
  if (name == "required") call->tool_choice = service::ToolChoice::kRequired;
  if (name == "none" || name == "auto" || name == "required") return absl::OkStatus();
  return UnknownWord("tool_choice", name, "\"none\", \"auto\", \"required\" or an object");
}

// What the response is to hold beyond what it always holds; other wishes are for tools that are not offered.
absl::Status ReadInclude(const element& value, ResponsesBody* out, bool* logprobs) {
  simdjson::dom::array array;
  if (absl::Status status = ReadArray(value, "include", &array); !status.ok()) return status;
  for (const element item : array) {
    std::string name;
    if (absl::Status status = ReadString(item, "include", &name); !status.ok()) return status;
    if (name == "reasoning.encrypted_content") out->response.carries_reasoning = true;
    if (name == "message.output_text.logprobs") *logprobs = true;
  }
  return absl::OkStatus();
}

// Fields of chat that mean the same here.
bool IsShared(std::string_view name) {
  constexpr std::array kShared = {"model",
                                  "temperature",
                                  "top_p",
                                  "top_k",
                                  "min_p",
                                  "seed",
                                  "stop",
                                  "logit_bias",
                                  "user",
                                  "cache_salt",
                                  "service_tier",
                                  "frequency_penalty",
                                  "presence_penalty",
                                  "repetition_penalty"};
  return std::find(kShared.begin(), kShared.end(), name) != kShared.end();
}

}  // namespace

absl::StatusOr<ResponsesBody> DecodeResponses(std::string_view body, int max_depth) {
  ResponsesBody out;
  service::ChatCall& call = out.call;
  service::CallOptions& options = call.options;
  Echo echo;
  ResponseOptions common;
  std::string instructions;
  bool no_tools = false, logprobs = false, has_input = false;
  std::optional<std::vector<std::string>> allowed_tools;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    echo.Take(name, value);
    if (absl::Status status = RefuseStateful(name, value); !status.ok()) return status;
    if (name == "input") {
      has_input = true;
      call.messages.clear();
      call.message_paths.clear();
      return ReadInput(value, &call);
    }
    if (name == "instructions") return ReadString(value, name, &instructions);
    if (name == "stream") return ReadBool(value, name, &out.response.stream);
    if (name == "max_output_tokens") return ReadInt(value, name, &options.stopping.max_tokens);
    if (name == "max_thinking_tokens") return ReadInt(value, name, &call.max_thinking_tokens);
    if (name == "reasoning_control") return ReadBool(value, name, &call.reasoning_control);
    if (name == "reasoning") return ReadReasoningOptions(value, &call);
    if (name == "text") return ReadTextOptions(value, &options.response_format);
    if (name == "tools") return ReadResponsesTools(value, &call);
    if (name == "tool_choice") return ReadResponsesToolChoice(value, &call, &no_tools, &allowed_tools);
    if (name == "parallel_tool_calls") return ReadBool(value, name, &call.parallel_tool_calls);
    if (name == "include") return ReadInclude(value, &out, &logprobs);
    if (name == "top_logprobs") return ReadInt(value, name, &options.top_logprobs);
    if (name == "safety_identifier") return ReadString(value, name, &options.user);
    if (name == "response_format") {
      // Under the name that it has here: the other one would be replaced in the message.
      return InvalidField("text.format",
                          "`text.format` has this place here; response_format belongs to chat completions");
    }
    if (IsShared(name)) return ReadCommonField(name, value, &options, &common).status();
    return ReadForeignConstraint(name, value, &options.response_format).status();
  });
  if (!parsed.ok()) return parsed;
  if (!has_input) return InvalidField("input", "`input` is missing");
  if (options.stopping.max_tokens.has_value() && *options.stopping.max_tokens < 1) {
    return MakeError(Reason::kOutOfRange,
                     absl::StrCat("`max_output_tokens` is ", *options.stopping.max_tokens, "; it must be 1 or more"),
                     "max_output_tokens");
  }
  if (logprobs && !options.top_logprobs.has_value()) options.top_logprobs = 0;
  PrependSystem(std::move(instructions), "instructions", &call);
  if (no_tools) HideTools(&call);
  if (allowed_tools.has_value()) {
    if (absl::Status status = KeepAllowedTools(*allowed_tools, &call); !status.ok()) return status;
  }
  out.service_tier = std::move(common.service_tier);
  out.response.echo = echo.Members();
  return out;
}

}  // namespace hadal::http
