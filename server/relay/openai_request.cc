// SPDX-License-Identifier: Apache-2.0
#include "server/relay/openai_request.h"

#include <simdjson.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/json_string.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::relay {
namespace {

using request::MakeError;
using request::Reason;
using Kind = service::ResponseFormat::Kind;

// Writes one object, member by member.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string* out) : out_(out) { out_->push_back('{'); }

  std::string* Key(std::string_view key) {
    if (!std::exchange(first_, false)) out_->push_back(',');
    base::AppendJsonQuoted(key, out_);
    out_->push_back(':');
    return out_;
  }
  void Text(std::string_view key, std::string_view value) { base::AppendJsonQuoted(value, Key(key)); }
  void TextIfAny(std::string_view key, std::string_view value) {
    if (!value.empty()) Text(key, value);
  }
  void Bool(std::string_view key, bool value) { Key(key)->append(value ? "true" : "false"); }
  void Raw(std::string_view key, std::string_view json) { Key(key)->append(json); }
  template <typename T>
  void Number(std::string_view key, T value) {
    char text[32];
    Key(key)->append(text, std::to_chars(text, text + sizeof(text), value).ptr);
  }
  template <typename T>
  void NumberIfAny(std::string_view key, const std::optional<T>& value) {
    if (value.has_value()) Number(key, *value);
  }
  void End() { out_->push_back('}'); }

 private:
  std::string* const out_;
  bool first_ = true;
};

template <typename List, typename Write>
void AppendList(const List& list, std::string* out, const Write& write) {
  out->push_back('[');
  bool first = true;
  for (const auto& item : list) {
    if (!std::exchange(first, false)) out->push_back(',');
    write(item);
  }
  out->push_back(']');
}

void AppendIds(const std::vector<int32_t>& ids, std::string* out) {
  AppendList(ids, out, [&](int32_t id) { absl::StrAppend(out, id); });
}

// A client's text that is JSON, as it will be read again: a text that is none must not break the body around it.
absl::StatusOr<std::string> Checked(std::string_view json, std::string_view field) {
  simdjson::dom::parser parser;
  simdjson::dom::element element;
  if (parser.parse(json.data(), json.size()).get(element) != simdjson::SUCCESS) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("`", base::View(field), "` is not JSON"), field);
  }
  return std::string(simdjson::minify(element));
}

absl::Status NotInThatForm(std::string_view what) {
  return MakeError(Reason::kUnsupported, absl::StrCat("another server's answer does not hold ", base::View(what)));
}

absl::Status CheckForm(const service::CallOptions& options) {
  if (options.return_token_ids) return NotInThatForm("token ids");
  if (options.top_logprobs.has_value() || options.prompt_logprobs) return NotInThatForm("log-probabilities");
  if (options.stopping.max_tokens == 0) return NotInThatForm("an answer of no tokens");
  const Kind kind = options.response_format.kind;
  if (kind == Kind::kChoice || kind == Kind::kRegex) return NotInThatForm("choices or regular expressions");
  return absl::OkStatus();
}

absl::Status WriteFormat(const service::ResponseFormat& format, ObjectWriter* json) {
  if (format.kind == Kind::kJsonObject) json->Raw("response_format", R"({"type":"json_object"})");
  if (format.kind != Kind::kJsonSchema) return absl::OkStatus();
  absl::StatusOr<std::string> schema = Checked(format.schema_json, "response_format");
  if (!schema.ok()) return schema.status();
  json->Raw("response_format",
            absl::StrCat(R"({"type":"json_schema","json_schema":{"name":"answer","schema":)", *schema, "}}"));
  return absl::OkStatus();
}

void WriteSampling(const service::SamplingOptions& sampling, ObjectWriter* json) {
  json->NumberIfAny("temperature", sampling.temperature);
  json->NumberIfAny("top_p", sampling.top_p);
  json->NumberIfAny("top_k", sampling.top_k);
  json->NumberIfAny("min_p", sampling.min_p);
  json->NumberIfAny("repetition_penalty", sampling.repetition_penalty);
  json->NumberIfAny("frequency_penalty", sampling.frequency_penalty);
  json->NumberIfAny("presence_penalty", sampling.presence_penalty);
  json->NumberIfAny("seed", sampling.seed);
  if (sampling.logit_bias.empty()) return;
  ObjectWriter bias(json->Key("logit_bias"));
  for (const auto& [token, value] : sampling.logit_bias) bias.Number(absl::StrCat(token), value);
  bias.End();
}

void WriteStopping(const service::StopOptions& stopping, ObjectWriter* json) {
  json->NumberIfAny("max_tokens", stopping.max_tokens);
  if (stopping.min_tokens > 0) json->Number("min_tokens", stopping.min_tokens);
  if (!stopping.stop.empty()) {
    std::string* const out = json->Key("stop");
    AppendList(stopping.stop, out, [&](const std::string& stop) { base::AppendJsonQuoted(stop, out); });
  }
  if (!stopping.stop_token_ids.empty()) AppendIds(stopping.stop_token_ids, json->Key("stop_token_ids"));
  if (stopping.ignore_eos) json->Bool("ignore_eos", true);
}

absl::Status WriteCommon(const service::CallOptions& options, std::string_view model, ObjectWriter* json) {
  if (absl::Status status = CheckForm(options); !status.ok()) return status;
  json->Text("model", model);
  json->Bool("stream", true);
  json->Raw("stream_options", R"({"include_usage":true})");
  WriteSampling(options.sampling, json);
  WriteStopping(options.stopping, json);
  if (options.n != 1) json->Number("n", options.n);
  json->TextIfAny("user", options.user);
  json->TextIfAny("cache_salt", options.cache_salt);
  if (!options.skip_special_tokens) json->Bool("skip_special_tokens", false);
  return WriteFormat(options.response_format, json);
}

void WriteMessage(const chat::ChatMessage& message, std::string* out) {
  ObjectWriter json(out);
  json.Text("role", message.role);
  json.Text("content", message.content);
  json.TextIfAny("reasoning_content", message.reasoning_content);
  json.TextIfAny("name", message.name);
  json.TextIfAny("tool_call_id", message.tool_call_id);
  if (message.prefix) json.Bool("prefix", true);
  if (!message.tool_calls.empty()) {
    AppendList(message.tool_calls, json.Key("tool_calls"), [&](const chat::ChatToolCall& call) {
      ObjectWriter item(out);
      item.Text("id", call.id);
      item.Text("type", "function");
      ObjectWriter function(item.Key("function"));
      function.Text("name", call.name);
      function.Text("arguments", call.arguments);
      function.End();
      item.End();
    });
  }
  json.End();
}

// The function object of a tool.
absl::StatusOr<std::string> FunctionOf(const chat::ChatTool& tool, bool strict) {
  if (!tool.definition_json.empty()) return Checked(tool.definition_json, "tools");
  std::string out;
  ObjectWriter json(&out);
  json.Text("name", tool.name);
  json.TextIfAny("description", tool.description);
  if (!tool.parameters_json.empty()) {
    absl::StatusOr<std::string> parameters = Checked(tool.parameters_json, "tools");
    if (!parameters.ok()) return parameters.status();
    json.Raw("parameters", *parameters);
  }
  if (strict) json.Bool("strict", true);
  json.End();
  return out;
}

absl::Status WriteTools(const service::ChatCall& call, ObjectWriter* json) {
  if (call.tools.empty()) return absl::OkStatus();
  std::vector<std::string> functions;
  for (size_t i = 0; i < call.tools.size(); ++i) {
    absl::StatusOr<std::string> function =
        FunctionOf(call.tools[i], i < call.strict_tools.size() && call.strict_tools[i]);
    if (!function.ok()) return function.status();
    functions.push_back(*std::move(function));
  }
  std::string* const out = json->Key("tools");
  AppendList(functions, out, [&](const std::string& function) {
    ObjectWriter tool(out);
    tool.Text("type", "function");
    tool.Raw("function", function);
    tool.End();
  });
  if (call.tool_choice == service::ToolChoice::kRequired) json->Text("tool_choice", "required");
  if (call.tool_choice == service::ToolChoice::kNamed) {
    ObjectWriter choice(json->Key("tool_choice"));
    choice.Text("type", "function");
    ObjectWriter function(choice.Key("function"));
    function.Text("name", call.tool_name);
    function.End();
    choice.End();
  }
  if (!call.parallel_tool_calls) json->Bool("parallel_tool_calls", false);
  return absl::OkStatus();
}

std::string_view EffortName(chat::ReasoningEffort effort) {
  switch (effort) {
    case chat::ReasoningEffort::kDefault:
      return {};
    case chat::ReasoningEffort::kLow:
      return "low";
    case chat::ReasoningEffort::kHigh:
      return "high";
    case chat::ReasoningEffort::kMax:
      return "xhigh";
  }
  return {};
}

absl::Status WriteThinking(const service::ChatCall& call, ObjectWriter* json) {
  if (call.thinking.has_value()) {
    json->Raw("thinking", *call.thinking ? R"({"type":"enabled"})" : R"({"type":"disabled"})");
  }
  json->TextIfAny("reasoning_effort", EffortName(call.reasoning_effort));
  json->NumberIfAny("max_thinking_tokens", call.max_thinking_tokens);
  const std::pair<std::string_view, std::string_view> texts[] = {{"chat_template_kwargs", call.template_arguments_json},
                                                                 {"documents", call.documents_json}};
  for (const auto& [name, text] : texts) {
    if (text.empty()) continue;
    absl::StatusOr<std::string> checked = Checked(text, name);
    if (!checked.ok()) return checked.status();
    json->Raw(name, *checked);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenAiRequest> EncodeOpenAi(const service::ChatCall& call, std::string_view model) {
  OpenAiRequest request{.path = "/chat/completions"};
  ObjectWriter json(&request.body);
  absl::Status status = WriteCommon(call.options, model, &json);
  if (status.ok()) {
    AppendList(call.messages, json.Key("messages"),
               [&](const chat::ChatMessage& message) { WriteMessage(message, &request.body); });
    status = WriteTools(call, &json);
  }
  if (status.ok()) status = WriteThinking(call, &json);
  if (!status.ok()) return status;
  json.End();
  return request;
}

absl::StatusOr<OpenAiRequest> EncodeOpenAi(const service::GenerateCall& call, std::string_view model) {
  OpenAiRequest request{.path = "/completions"};
  ObjectWriter json(&request.body);
  if (absl::Status status = WriteCommon(call.options, model, &json); !status.ok()) return status;
  if (const auto* text = std::get_if<std::string>(&call.prompt)) {
    json.Text("prompt", *text);
  } else {
    AppendIds(std::get<std::vector<int32_t>>(call.prompt), json.Key("prompt"));
  }
  if (call.suffix.has_value()) json.Text("suffix", *call.suffix);
  if (call.parse_special_tokens.has_value()) json.Bool("parse_special_tokens", *call.parse_special_tokens);
  if (!call.add_special_tokens) json.Bool("add_special_tokens", false);
  json.End();
  return request;
}

}  // namespace hadal::relay
