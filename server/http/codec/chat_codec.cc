// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/chat_codec.h"

#include <simdjson.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/allowed_tools.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using base::View;
using simdjson::dom::element;

// A string, or an array of {"type": "text", "text": ...} parts, whose texts are joined. What an assistant refused with
// is {"type": "refusal", "refusal": ...}.
absl::Status ReadContent(const element& value, const std::string& path, std::string* out) {
  if (value.is_string()) return ReadString(value, path, out);
  const auto read = [&](const simdjson::dom::object& part, const std::string& here) {
    std::string type = "text", text;
    absl::Status status = ReadOptionalMember(part, here, "type", &type);
    if (status.ok() && type != "text" && type != "refusal") {
      status = InvalidField(here, absl::StrCat("`", here, "` is a part of type \"", type.substr(0, kShownWordBytes),
                                               "\"; this server takes text only"));
    }
    if (status.ok()) status = ReadOptionalMember(part, here, type, &text);
    out->append(text);
    return status;
  };
  return ReadParts(value, path, "a string or an array of text parts", read);
}

absl::Status ReadToolFunction(const element& value, const std::string& path, chat::ChatToolCall* call) {
  simdjson::dom::object function;
  if (value.get_object().get(function) != simdjson::SUCCESS) return WrongType(path, "an object", value);
  for (const auto part : function) {
    if (part.value.is_null()) continue;
    absl::Status status;
    if (part.key == "name") status = ReadString(part.value, path + ".name", &call->name);
    if (part.key == "arguments") {
      // Some clients send the arguments as an object instead of its text.
      if (part.value.is_object()) {
        call->arguments = simdjson::minify(part.value);
      } else {
        status = ReadString(part.value, path + ".arguments", &call->arguments);
      }
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// A value as JSON, not all of it when it is long.
std::string Shown(const element& value) { return simdjson::minify(value).substr(0, kShownWordBytes); }

absl::Status ReadToolCall(const element& value, const std::string& path, chat::ChatToolCall* call) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType(path, "an object", value);
  for (const auto field : object) {
    if (field.value.is_null()) continue;
    absl::Status status;
    if (field.key == "id") status = ReadString(field.value, path + ".id", &call->id);
    if (field.key == "type" && (!field.value.is_string() || field.value.get_string().value_unsafe() != "function")) {
      status = UnsupportedField(
          path + ".type", absl::StrCat("`", path, ".type` is ", Shown(field.value), "; only \"function\" is offered"));
    }
    if (field.key == "function") status = ReadToolFunction(field.value, path + ".function", call);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadMessage(const element& value, const std::string& path, chat::ChatMessage* message) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType(path, "an object", value);
  bool has_content = false;
  for (const auto field : object) {
    if (field.value.is_null()) continue;
    const std::string_view name = field.key;
    absl::Status status;
    if (name == "role") {
      status = ReadString(field.value, path + ".role", &message->role);
    } else if (name == "content") {
      has_content = true;
      status = ReadContent(field.value, path + ".content", &message->content);
    } else if (name == "reasoning" && field.value.is_string() && message->reasoning_content.empty()) {
      status = ReadString(field.value, path + ".reasoning", &message->reasoning_content);  // as vLLM calls it
    } else if (name == "reasoning_content") {
      status = ReadString(field.value, path + ".reasoning_content", &message->reasoning_content);
    } else if (name == "name") {
      status = ReadString(field.value, path + ".name", &message->name);
    } else if (name == "tool_call_id") {
      status = ReadString(field.value, path + ".tool_call_id", &message->tool_call_id);
    } else if (name == "prefix") {
      status = ReadBool(field.value, path + ".prefix", &message->prefix);
    } else if (name == "tool_calls") {
      simdjson::dom::array calls;
      if (field.value.get_array().get(calls) != simdjson::SUCCESS) {
        return WrongType(path + ".tool_calls", "an array", field.value);
      }
      for (const element call : calls) {
        if (message->tool_calls.size() > service::kMaxToolCallsPerMessage) break;
        const std::string here = absl::StrCat(path, ".tool_calls[", message->tool_calls.size(), "]");
        status = ReadToolCall(call, here, &message->tool_calls.emplace_back());
        if (!status.ok()) return status;
      }
    }
    if (!status.ok()) return status;
  }
  if (message->role.empty()) return InvalidField(path + ".role", absl::StrCat("`", path, ".role` is missing"));
  if (!has_content && message->role != "assistant") {
    return InvalidField(path + ".content", absl::StrCat("`", path, ".content` is missing"));
  }
  return absl::OkStatus();
}

absl::Status CheckAtLeast(std::string_view path, const std::optional<int32_t>& value, int32_t least) {
  if (!value.has_value() || *value >= least) return absl::OkStatus();
  return request::MakeError(request::Reason::kOutOfRange,
                            absl::StrCat("`", View(path), "` is ", *value, "; it must be ", least, " or more"), path);
}

// {"type", "budget_tokens"}
absl::Status ReadThinking(const element& value, service::ChatCall* call) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType("thinking", "an object", value);
  for (const auto field : object) {
    if (field.value.is_null()) continue;
    if (field.key == "budget_tokens") {
      absl::Status status = ReadInt(field.value, "thinking.budget_tokens", &call->max_thinking_tokens);
      if (status.ok()) status = CheckAtLeast("thinking.budget_tokens", call->max_thinking_tokens, 0);
      if (!status.ok()) return status;
    }
    if (field.key != "type") continue;
    std::string type;
    if (absl::Status status = ReadString(field.value, "thinking.type", &type); !status.ok()) return status;
    const bool model_chooses = type == "auto" || type == "adaptive";
    if (type != "enabled" && type != "disabled" && !model_chooses) {
      return UnknownWord("thinking.type", type, "\"enabled\", \"disabled\" or \"adaptive\"");
    }
    if (!model_chooses) call->thinking = type == "enabled";
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadTemplateArguments(const element& value, std::optional<bool>* thinking, std::string* json) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType("chat_template_kwargs", "an object", value);
  *json = simdjson::minify(object);
  const absl::StatusOr<std::optional<bool>> wanted = service::ThinkingIn(*json);
  if (!wanted.ok()) return wanted.status();
  if (wanted->has_value()) *thinking = *wanted;
  return absl::OkStatus();
}

absl::Status ReadDocuments(const element& value, std::string* json) {
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return WrongType("documents", "an array", value);
  if (array.size() > service::kMaxDocuments) {
    return InvalidField(
        "documents", absl::StrCat("`documents` has ", array.size(), " entries; the limit is ", service::kMaxDocuments));
  }
  for (const element document : array) {
    if (!document.is_object()) return WrongType("documents", "an array of objects", document);
  }
  if (array.size() > 0) *json = simdjson::minify(array);
  return absl::OkStatus();
}

namespace {

// What a tool_choice says beyond the call's own fields.
struct ChosenTools {
  bool none = false;  // the tools are not to be shown to the model
  std::optional<std::vector<std::string>> allowed;
};

// {"type": "function", "function": {"name": ...}}, or {"type": "allowed_tools", "allowed_tools": {"mode", "tools"}}
absl::Status ReadChosenTool(const element& value, service::ChatCall* call, ChosenTools* chosen) {
  simdjson::dom::object function;
  const bool found = value["function"].get_object().get(function) == simdjson::SUCCESS;
  std::string_view type;
  const bool other_type = value["type"].get_string().get(type) == simdjson::SUCCESS && type != "function";
  if (other_type && type == "allowed_tools") {
    simdjson::dom::object fields;
    if (value["allowed_tools"].get_object().get(fields) != simdjson::SUCCESS) {
      return InvalidField("tool_choice.allowed_tools", "`tool_choice.allowed_tools` must be an object");
    }
    return ReadAllowedTools(fields, "tool_choice.allowed_tools", "function", call, &chosen->allowed);
  }
  std::string_view name;
  if (!found || other_type || function["name"].get_string().get(name) != simdjson::SUCCESS || name.empty()) {
    return InvalidField("tool_choice",
                        "`tool_choice` as an object must be {\"type\": \"function\", \"function\": {\"name\": ...}}");
  }
  call->tool_choice = service::ToolChoice::kNamed;
  call->tool_name = name;
  return absl::OkStatus();
}

absl::Status ReadToolChoice(const element& value, service::ChatCall* call, ChosenTools* chosen) {
  *chosen = {};
  call->tool_choice = service::ToolChoice::kAuto;
  if (value.is_object()) return ReadChosenTool(value, call, chosen);
  std::string name;
  if (absl::Status status = ReadString(value, "tool_choice", &name); !status.ok()) {
    return WrongType("tool_choice", "a string or an object", value);
  }
  chosen->none = name == "none";
  if (name == "required") call->tool_choice = service::ToolChoice::kRequired;
  if (name == "none" || name == "auto" || name == "required") return absl::OkStatus();
  return UnknownWord("tool_choice", name, "\"none\", \"auto\", \"required\" or an object");
}

// What the answer may be: an array that can only hold "text" here.
absl::Status ReadModalities(const element& value) {
  simdjson::dom::array array;
  if (absl::Status status = ReadArray(value, "modalities", &array); !status.ok()) return status;
  for (const element item : array) {
    if (item.is_string() && item.get_string().value_unsafe() == "text") continue;
    return UnsupportedField("modalities",
                            absl::StrCat("`modalities` asks for ", Shown(item), "; this server generates text only"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMessages(const element& value, std::vector<chat::ChatMessage>* out) {
  out->clear();
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return WrongType("messages", "an array", value);
  // Counted before anything is read: a million small messages are refused at no cost.
  if (array.size() > service::kMaxMessages) {
    return InvalidField("messages", absl::StrCat("`messages` holds ", array.size(), " messages; at most ",
                                                 service::kMaxMessages, " are allowed"));
  }
  for (const element message : array) {
    const std::string path = absl::StrCat("messages[", out->size(), "]");
    if (absl::Status status = ReadMessage(message, path, &out->emplace_back()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ContinueFinalMessage(std::vector<chat::ChatMessage>* messages) {
  if (messages->empty() || messages->back().role != "assistant") {
    return InvalidField("continue_final_message",
                        "`continue_final_message` needs a last message of the role assistant");
  }
  messages->back().prefix = true;
  return absl::OkStatus();
}

absl::Status ReadTools(const element& value, std::vector<chat::ChatTool>* out, std::vector<bool>* strict) {
  out->clear();
  if (strict != nullptr) strict->clear();
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return WrongType("tools", "an array", value);
  for (const element item : array) {
    if (out->size() > service::kMaxTools) break;
    const std::string path = absl::StrCat("tools[", out->size(), "]");
    chat::ChatTool& tool = out->emplace_back();
    bool is_strict = false;
    simdjson::dom::object object, function;
    if (item.get_object().get(object) != simdjson::SUCCESS) return WrongType(path, "an object", item);
    std::string_view type;
    if (object["type"].get_string().get(type) == simdjson::SUCCESS && type != "function") {
      return UnsupportedField(path + ".type",
                              absl::StrCat("`", path, ".type` is \"", View(type.substr(0, kShownWordBytes)),
                                           "\"; only \"function\" is offered"));
    }
    if (object["function"].get_object().get(function) != simdjson::SUCCESS) {
      return InvalidField(path + ".function", absl::StrCat("`", path, ".function` must be an object"));
    }
    tool.definition_json = simdjson::minify(function);
    for (const auto field : function) {
      if (field.value.is_null()) continue;
      absl::Status status;
      if (field.key == "name") status = ReadString(field.value, path + ".function.name", &tool.name);
      if (field.key == "description")
        status = ReadString(field.value, path + ".function.description", &tool.description);
      if (field.key == "strict") status = ReadBool(field.value, path + ".function.strict", &is_strict);
      if (field.key == "parameters") {
        if (!field.value.is_object()) return WrongType(path + ".function.parameters", "an object", field.value);
        tool.parameters_json = simdjson::minify(field.value);
      }
      if (!status.ok()) return status;
    }
    if (strict != nullptr) strict->push_back(is_strict);
  }
  return absl::OkStatus();
}

absl::StatusOr<ChatBody> DecodeChat(std::string_view body, int max_depth, bool allow_prompt) {
  ChatBody chat;
  bool has_stream_options = false, logprobs = false;
  bool continues = false, generation_prompt = true, echo = false;
  ChosenTools chosen;
  std::string max_tokens_name = "max_tokens";
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    absl::StatusOr<bool> common = ReadCommonField(name, value, &chat.call.options, &chat.response);
    if (!common.ok()) return common.status();
    if (name == "stream_options") has_stream_options = true;
    if (name == "max_tokens" || name == "max_completion_tokens") max_tokens_name = name;
    if (*common) return absl::OkStatus();
    if (name == "messages") return ReadMessages(value, &chat.call.messages);
    if (name == "prompt" && allow_prompt) {
      chat::ChatMessage message;
      message.role = "user";
      absl::Status status = ReadString(value, "prompt", &message.content);
      if (status.ok() && chat.call.messages.empty()) chat.call.messages.push_back(std::move(message));
      return status;
    }
    if (name == "logprobs") return ReadBool(value, name, &logprobs);
    if (name == "top_logprobs") return ReadInt(value, name, &chat.call.options.top_logprobs);
    if (name == "thinking") return ReadThinking(value, &chat.call);
    if (name == "max_thinking_tokens") return ReadInt(value, name, &chat.call.max_thinking_tokens);
    if (name == "reasoning_control") return ReadBool(value, name, &chat.call.reasoning_control);
    if (name == "chat_template_kwargs")
      return ReadTemplateArguments(value, &chat.call.thinking, &chat.call.template_arguments_json);
    if (name == "documents") return ReadDocuments(value, &chat.call.documents_json);
    if (name == "reasoning_effort") {
      std::string effort;
      absl::Status status = ReadString(value, name, &effort);
      return status.ok() ? service::SetReasoningEffort(effort, &chat.call) : status;
    }
    if (name == "tools") return ReadTools(value, &chat.call.tools, &chat.call.strict_tools);
    if (name == "tool_choice") return ReadToolChoice(value, &chat.call, &chosen);
    if (name == "parallel_tool_calls") return ReadBool(value, name, &chat.call.parallel_tool_calls);
    if (name == "modalities") return ReadModalities(value);
    if (name == "continue_final_message") return ReadBool(value, name, &continues);
    if (name == "add_generation_prompt") return ReadBool(value, name, &generation_prompt);
    if (name == "echo") return ReadBool(value, name, &echo);
    return absl::OkStatus();
  });
  if (!parsed.ok()) return parsed;
  if (echo) return InvalidField("echo", "`echo` is offered by /v1/completions only");
  if (continues) {
    if (absl::Status status = ContinueFinalMessage(&chat.call.messages); !status.ok()) return status;
  } else if (!generation_prompt) {
    return InvalidField("add_generation_prompt",
                        "`add_generation_prompt` may be false only where `continue_final_message` is true");
  }
  if (absl::Status status = CheckResponseOptions(chat.response, has_stream_options); !status.ok()) return status;
  if (chosen.none) HideTools(&chat.call);
  if (chosen.allowed.has_value()) {
    if (absl::Status status = KeepAllowedTools(*chosen.allowed, &chat.call); !status.ok()) return status;
  }
  if (chat.call.options.top_logprobs.has_value() && !logprobs) {
    return InvalidField("top_logprobs", "`top_logprobs` needs `logprobs` to be true");
  }
  if (logprobs && !chat.call.options.top_logprobs.has_value()) chat.call.options.top_logprobs = 0;
  absl::Status enough = CheckAtLeast(max_tokens_name, chat.call.options.stopping.max_tokens, 1);
  if (!enough.ok()) return enough;
  return chat;
}

}  // namespace hadal::http
