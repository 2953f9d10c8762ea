// SPDX-License-Identifier: Apache-2.0
#include "models/chat/jinja_chat.h"

#include <algorithm>
#include <utility>

#include "models/chat/chat_styles.h"
#include "models/concat.h"
#include "models/jinja/json_value.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

using jinja::Value;
using Members = std::vector<std::pair<Value, Value>>;

// As transformers marks the end of a message that is to be continued: templates keep it, and trim what follows or not.
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";
constexpr std::string_view kOwnVariables[] = {"messages", "tools", "add_generation_prompt"};
constexpr std::string_view kKnownRoles[] = {"system", "developer", "user", "assistant", "tool"};

Value Own(std::string_view text) { return Value::String(std::string(text), /*input=*/false); }
Value Input(std::string_view text) { return Value::String(std::string(text), /*input=*/true); }

std::string_view TrimEnd(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\n\r\f\v");
  return end == text.npos ? std::string_view() : text.substr(0, end + 1);
}

absl::StatusOr<Value> ToolValue(const ChatTool& tool) {
  Members function;
  if (!tool.definition_json.empty()) {
    HADAL_ASSIGN_OR_RETURN(Value definition, jinja::FromJson(tool.definition_json, /*input=*/true));
    return jinja::MakeDict({{Own("type"), Own("function")}, {Own("function"), std::move(definition)}});
  }
  function.emplace_back(Own("name"), Input(tool.name));
  function.emplace_back(Own("description"), Input(tool.description));
  HADAL_ASSIGN_OR_RETURN(Value parameters,
                         jinja::FromJson(tool.parameters_json.empty() ? "{}" : tool.parameters_json, true));
  function.emplace_back(Own("parameters"), std::move(parameters));
  return jinja::MakeDict({{Own("type"), Own("function")}, {Own("function"), jinja::MakeDict(std::move(function))}});
}

absl::StatusOr<Value> DocumentsValue(std::string_view json) {
  if (json.empty()) return Value(Value::None{});
  absl::StatusOr<Value> list = jinja::FromJson(json, /*input=*/true);
  if (!list.ok()) return absl::InvalidArgumentError(models::Concat("documents: ", list.status().message()));
  if (list->AsList() == nullptr) return absl::InvalidArgumentError("documents is no list");
  for (const Value& document : list->AsList()->items) {
    if (document.AsDict() == nullptr) return absl::InvalidArgumentError("documents: one of them is no object");
  }
  return list;
}

std::string_view EffortName(ReasoningEffort effort) {
  return effort == ReasoningEffort::kLow ? "low" : effort == ReasoningEffort::kMax ? "max" : "high";
}

Prompt PromptOf(const jinja::MarkedText& text, size_t end) {
  Prompt prompt;
  text.Slice(0, end).ForEachRun([&](std::string_view bytes, bool input) {
    prompt.pieces.push_back({std::string(bytes), !input});
  });
  return prompt;
}

// Whether the template itself opened the reasoning at the end.
bool OpensReasoning(const jinja::MarkedText& text) {
  const std::string_view trimmed = TrimEnd(text.bytes());
  return trimmed.ends_with(kThinkBegin) && !text.IsInput(trimmed.size() - 1);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const JinjaChat>> JinjaChat::Compile(std::string_view source, std::string_view name,
                                                                    std::string_view tool_source,
                                                                    const tokenizer::Tokenizer& tokenizer) {
  std::shared_ptr<JinjaChat> chat(new JinjaChat());
  HADAL_ASSIGN_OR_RETURN(chat->template_, jinja::Template::Compile(source, name));
  if (!tool_source.empty()) {
    HADAL_ASSIGN_OR_RETURN(chat->tool_template_,
                           jinja::Template::Compile(tool_source, models::Concat(name, " (tool_use)")));
  }
  for (const auto& [key, text] : tokenizer.special_tokens()) chat->special_tokens_.emplace_back(key, Own(text));
  chat->knows_developer_ = source.find("developer") != source.npos;
  chat->Probe();
  return std::shared_ptr<const JinjaChat>(std::move(chat));
}

void JinjaChat::Probe() {
  constexpr std::string_view kArguments = R"({"hadal_key": "hadal_value"})";
  constexpr std::string_view kQuestion = "hadal_question";
  std::vector<ChatMessage> messages(1);
  messages[0].role = "user";
  messages[0].content = kQuestion;
  const auto render = [&] {
    const absl::StatusOr<Prompt> prompt = Render(messages, {});
    return prompt.ok() ? prompt->Text() : std::string();
  };
  // A template that cuts a text still reads it: another one gives another prompt.
  const std::string with_question = render();
  messages[0].content = "Another text, of another length.";
  const bool drops_texts = render() == with_question;
  messages[0].content = kQuestion;
  if (drops_texts) {
    content_as_parts_ = true;
    content_as_parts_ = render().find(kQuestion) != std::string::npos;
  }
  messages.resize(3);
  messages[1].role = "assistant";
  messages[1].tool_calls.push_back({"call_1", "f", std::string(kArguments)});
  messages[2].role = "tool";
  messages[2].content = "r";
  messages[2].tool_call_id = "call_1";
  arguments_as_text_ = true;
  arguments_as_text_ = render().find(kArguments) != std::string::npos;
  const std::string text = render();
  empty_content_is_none_ = !text.empty() && text.find("None") == text.npos;
}

Value JinjaChat::ContentValue(const ChatMessage& message) const {
  if (message.content.empty() && !message.tool_calls.empty() && empty_content_is_none_) return Value::None{};
  if (!content_as_parts_) return Input(message.content);
  std::vector<Value> parts;
  parts.push_back(jinja::MakeDict({{Own("type"), Own("text")}, {Own("text"), Input(message.content)}}));
  return jinja::MakeList(std::move(parts));
}

absl::StatusOr<Value> JinjaChat::MessageValue(const ChatMessage& message) const {
  Members members;
  const bool known = std::find(std::begin(kKnownRoles), std::end(kKnownRoles), message.role) != std::end(kKnownRoles);
  const bool renamed = message.role == "developer" && !knows_developer_;
  // Templates write roles into markers such as <|user|>: the usual ones are no client's text.
  members.emplace_back(Own("role"), renamed ? Own("system") : known ? Own(message.role) : Input(message.role));
  members.emplace_back(Own("content"), ContentValue(message));
  if (!message.reasoning_content.empty()) {
    members.emplace_back(Own("reasoning_content"), Input(message.reasoning_content));
    members.emplace_back(Own("thinking"), Input(message.reasoning_content));
  }
  if (!message.name.empty()) members.emplace_back(Own("name"), Input(message.name));
  if (!message.tool_call_id.empty()) members.emplace_back(Own("tool_call_id"), Input(message.tool_call_id));
  if (message.tool_calls.empty()) return jinja::MakeDict(std::move(members));
  std::vector<Value> calls;
  for (const ChatToolCall& call : message.tool_calls) {
    Value arguments = Input(call.arguments);
    if (!arguments_as_text_) {
      absl::StatusOr<Value> object = jinja::FromJson(call.arguments.empty() ? "{}" : call.arguments, /*input=*/true);
      if (object.ok()) arguments = *std::move(object);  // a model may have written what is no JSON
    }
    calls.push_back(jinja::MakeDict({{Own("id"), Input(call.id)},
                                     {Own("type"), Own("function")},
                                     {Own("function"), jinja::MakeDict({{Own("name"), Input(call.name)},
                                                                        {Own("arguments"), std::move(arguments)}})}}));
  }
  members.emplace_back(Own("tool_calls"), jinja::MakeList(std::move(calls)));
  return jinja::MakeDict(std::move(members));
}

absl::StatusOr<jinja::Template::Variables> JinjaChat::VariablesOf(absl::Span<const ChatMessage> messages,
                                                                  const ChatOptions& options) const {
  jinja::Template::Variables variables = special_tokens_;
  HADAL_ASSIGN_OR_RETURN(Value documents, DocumentsValue(options.documents_json));
  variables.emplace_back("documents", std::move(documents));
  if (options.thinking_given) {
    variables.emplace_back("thinking", Value::Bool(options.thinking));
    variables.emplace_back("enable_thinking", Value::Bool(options.thinking));
  }
  if (options.reasoning_effort != ReasoningEffort::kDefault) {
    variables.emplace_back("reasoning_effort", Own(EffortName(options.reasoning_effort)));
  }
  if (!options.template_arguments_json.empty()) {
    HADAL_ASSIGN_OR_RETURN(const Value arguments, jinja::FromJson(options.template_arguments_json, /*input=*/true));
    if (arguments.AsDict() == nullptr) return absl::InvalidArgumentError("chat_template_kwargs is no object");
    for (const auto& [key, value] : arguments.AsDict()->items) {
      const std::string_view name = key.AsText()->bytes();
      if (std::find(std::begin(kOwnVariables), std::end(kOwnVariables), name) != std::end(kOwnVariables)) {
        return absl::InvalidArgumentError(models::Concat("chat_template_kwargs cannot set \"", name, "\""));
      }
      variables.emplace_back(std::string(name), value);
    }
  }
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    HADAL_ASSIGN_OR_RETURN(Value value, MessageValue(message));
    list.push_back(std::move(value));
  }
  variables.emplace_back("messages", jinja::MakeList(std::move(list)));
  std::vector<Value> tools;
  for (const ChatTool& tool : options.tools) {
    HADAL_ASSIGN_OR_RETURN(Value value, ToolValue(tool));
    tools.push_back(std::move(value));
  }
  variables.emplace_back("tools", tools.empty() ? Value(Value::None{}) : Value(jinja::MakeList(std::move(tools))));
  const bool continues = !messages.empty() && messages.back().prefix;
  variables.emplace_back("add_generation_prompt", Value::Bool(options.add_generation_prompt && !continues));
  return variables;
}

absl::StatusOr<Prompt> JinjaChat::Render(absl::Span<const ChatMessage> messages, const ChatOptions& options) const {
  if (messages.empty()) return absl::InvalidArgumentError("messages is empty");
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].prefix && (messages[i].role != "assistant" || i + 1 != messages.size())) {
      return absl::InvalidArgumentError(
          models::Concat("messages[", i, "].prefix is only allowed in a last message of the assistant"));
    }
  }
  const jinja::Template& chosen = TemplateFor(!options.tools.empty());
  if (!messages.back().prefix) {
    HADAL_ASSIGN_OR_RETURN(const jinja::Template::Variables variables, VariablesOf(messages, options));
    HADAL_ASSIGN_OR_RETURN(const jinja::MarkedText text, chosen.Render(variables));
    Prompt prompt = PromptOf(text, text.size());
    prompt.reasoning_starts_open = options.add_generation_prompt && OpensReasoning(text);
    return prompt;
  }
  std::vector<ChatMessage> tagged(messages.begin(), messages.end());
  const bool in_reasoning = tagged.back().content.empty() && !tagged.back().reasoning_content.empty();
  (in_reasoning ? tagged.back().reasoning_content : tagged.back().content) += kContinueTag;
  HADAL_ASSIGN_OR_RETURN(const jinja::Template::Variables variables, VariablesOf(tagged, options));
  HADAL_ASSIGN_OR_RETURN(const jinja::MarkedText text, chosen.Render(variables));
  const size_t at = text.bytes().rfind(TrimEnd(kContinueTag));
  if (at == std::string_view::npos) {
    return absl::InvalidArgumentError(
        "the chat template of this model does not keep the message that is to be continued (prefix)");
  }
  const bool keeps_space = text.bytes().substr(at).starts_with(kContinueTag);
  Prompt prompt = PromptOf(text, keeps_space ? at : TrimEnd(text.bytes().substr(0, at)).size());
  prompt.reasoning_starts_open = in_reasoning;
  return prompt;
}

}  // namespace hadal::chat
