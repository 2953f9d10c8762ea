// SPDX-License-Identifier: Apache-2.0
#include "client/batch_lines.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace hadal::client {
namespace {

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

// Members of a JSON object; values are complete.
class Members {
 public:
  void Add(const char* name, const std::string& value) {
    absl::StrAppend(&text_, text_.empty() ? "" : ",", "\"", name, "\":", value);
  }
  std::string Object() const { return absl::StrCat("{", text_, "}"); }

 private:
  std::string text_;
};

// Line ends between the parts of a JSON text mean nothing, and within texts they are escaped.
std::string OnOneLine(std::string json) {
  for (char& c : json) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return json;
}

std::string Number(double value) { return absl::StrFormat("%.17g", value); }

template <typename Items, typename Text>
std::string List(const Items& items, Text text) {
  return absl::StrCat("[", absl::StrJoin(items, ",", [&](std::string* out, const auto& item) { *out += text(item); }),
                      "]");
}

std::string Ids(const std::vector<int32_t>& ids) {
  return List(ids, [](int32_t id) { return absl::StrCat(id); });
}

void AddShared(const GenerationOptions& options, Members* body) {
  if (!options.model.empty()) body->Add("model", Quoted(options.model));
  if (options.temperature >= 0) body->Add("temperature", Number(options.temperature));
  if (options.top_p >= 0) body->Add("top_p", Number(options.top_p));
  if (options.seed.has_value()) body->Add("seed", absl::StrCat(*options.seed));
  if (options.max_tokens > 0) body->Add("max_tokens", absl::StrCat(options.max_tokens));
  if (!options.stop.empty()) body->Add("stop", List(options.stop, &Quoted));
  if (options.top_k.has_value()) body->Add("top_k", absl::StrCat(*options.top_k));
  for (const auto& [name, value] :
       {std::pair("min_p", options.min_p), std::pair("repetition_penalty", options.repetition_penalty),
        std::pair("frequency_penalty", options.frequency_penalty),
        std::pair("presence_penalty", options.presence_penalty)}) {
    if (value.has_value()) body->Add(name, Number(*value));
  }
  if (!options.logit_bias.empty()) {
    Members biases;
    for (const auto& [token, bias] : options.logit_bias) biases.Add(absl::StrCat(token).c_str(), Number(bias));
    body->Add("logit_bias", biases.Object());
  }
  if (!options.stop_token_ids.empty()) body->Add("stop_token_ids", Ids(options.stop_token_ids));
  if (options.min_tokens != 0) body->Add("min_tokens", absl::StrCat(options.min_tokens));
  if (options.ignore_eos) body->Add("ignore_eos", "true");
  if (!options.json_schema.empty()) {
    body->Add("response_format", absl::StrCat(R"({"type":"json_schema","json_schema":{"name":"answer","schema":)",
                                              options.json_schema, "}}"));
  } else if (options.json_object) {
    body->Add("response_format", R"({"type":"json_object"})");
  }
  if (options.n != 0) body->Add("n", absl::StrCat(options.n));
  if (options.return_token_ids) body->Add("return_token_ids", "true");
  if (!options.user.empty()) body->Add("user", Quoted(options.user));
  if (!options.cache_salt.empty()) body->Add("cache_salt", Quoted(options.cache_salt));
}

std::string ObjectOf(const ToolCall& call) {
  Members function;
  function.Add("name", Quoted(call.name));
  function.Add("arguments", Quoted(call.arguments));
  Members out;
  out.Add("id", Quoted(call.id));
  out.Add("type", "\"function\"");
  out.Add("function", function.Object());
  return out.Object();
}

std::string ObjectOf(const Message& message) {
  Members out;
  out.Add("role", Quoted(message.role));
  out.Add("content", Quoted(message.content));
  if (!message.reasoning.empty()) out.Add("reasoning_content", Quoted(message.reasoning));
  if (message.prefix) out.Add("prefix", "true");
  if (!message.tool_calls.empty()) {
    out.Add("tool_calls", List(message.tool_calls, [](const ToolCall& call) { return ObjectOf(call); }));
  }
  if (!message.tool_call_id.empty()) out.Add("tool_call_id", Quoted(message.tool_call_id));
  return out.Object();
}

std::string ObjectOf(const ToolDefinition& tool) {
  Members function;
  function.Add("name", Quoted(tool.name));
  if (!tool.description.empty()) function.Add("description", Quoted(tool.description));
  if (!tool.parameters_json_schema.empty()) function.Add("parameters", tool.parameters_json_schema);
  if (tool.strict) function.Add("strict", "true");
  return absl::StrCat(R"({"type":"function","function":)", function.Object(), "}");
}

void AddTools(const ChatOptions& options, Members* body) {
  if (!options.tools.empty()) {
    body->Add("tools", List(options.tools, [](const ToolDefinition& tool) { return ObjectOf(tool); }));
  }
  if (options.tool_choice == ToolChoice::kNone) body->Add("tool_choice", "\"none\"");
  if (options.tool_choice == ToolChoice::kRequired) body->Add("tool_choice", "\"required\"");
  if (options.tool_choice == ToolChoice::kNamed) {
    body->Add("tool_choice",
              absl::StrCat(R"({"type":"function","function":{"name":)", Quoted(options.tool_name), "}}"));
  }
  if (options.parallel_tool_calls.has_value()) {
    body->Add("parallel_tool_calls", *options.parallel_tool_calls ? "true" : "false");
  }
}

}  // namespace

std::string BatchLine(std::string_view custom_id, std::string_view endpoint, std::string_view body) {
  Members line;
  line.Add("custom_id", Quoted(custom_id));
  line.Add("method", "\"POST\"");
  line.Add("url", Quoted(endpoint));
  line.Add("body", OnOneLine(std::string(body)));
  return line.Object() + "\n";
}

std::string BatchLine(std::string_view custom_id, const ChatOptions& options) {
  Members body;
  AddShared(options, &body);
  body.Add("messages", List(options.messages, [](const Message& message) { return ObjectOf(message); }));
  if (options.thinking >= 0) {
    body.Add("thinking", options.thinking == 1 ? R"({"type":"enabled"})" : R"({"type":"disabled"})");
  }
  if (options.max_thinking_tokens >= 0) body.Add("max_thinking_tokens", absl::StrCat(options.max_thinking_tokens));
  if (!options.chat_template_kwargs.empty()) body.Add("chat_template_kwargs", options.chat_template_kwargs);
  if (!options.documents.empty()) {
    body.Add("documents", List(options.documents, [](const std::string& document) { return document; }));
  }
  if (!options.reasoning_effort.empty()) body.Add("reasoning_effort", Quoted(options.reasoning_effort));
  AddTools(options, &body);
  if (options.logprobs.has_value()) {
    body.Add("logprobs", "true");
    body.Add("top_logprobs", absl::StrCat(*options.logprobs));
  }
  return BatchLine(custom_id, "/v1/chat/completions", body.Object());
}

std::string BatchLine(std::string_view custom_id, const CompletionOptions& options) {
  Members body;
  AddShared(options, &body);
  if (options.token_ids.empty()) {
    body.Add("prompt", Quoted(options.prompt));
  } else {
    body.Add("prompt", Ids(options.token_ids));
  }
  if (options.suffix.has_value()) body.Add("suffix", Quoted(*options.suffix));
  if (options.parse_special_tokens.has_value()) {
    body.Add("parse_special_tokens", *options.parse_special_tokens ? "true" : "false");
  }
  if (options.logprobs.has_value()) body.Add("logprobs", absl::StrCat(*options.logprobs));
  if (options.echo_logprobs) body.Add("echo", "true");
  return BatchLine(custom_id, "/v1/completions", body.Object());
}

}  // namespace hadal::client
