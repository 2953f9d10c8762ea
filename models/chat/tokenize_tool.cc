// SPDX-License-Identifier: Apache-2.0
// hadal_tokenize_tool DIR MODE: one JSON value a line from stdin to stdout, for tests and benchmarks in Python.
//   encode          string -> ids, literal added tokens recognised
//   encode_safe     string -> ids, as user text
//   encode_special  string -> ids with bos
//   decode[_skip]   ids -> string
//   stream          ids -> string through the incremental detokenizer
//   chat            {"messages", "tools", "thinking", "add_generation_prompt", "effort", "family", "kwargs"}
//                   -> {"style", "text", "ids"}; messages and tools in OpenAI's form, all but the messages optional
//   check           rows of a model's embedding -> {"fingerprint", "error"}
// An error is written as {"error": text}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "models/chat/chat_template.h"
#include "models/tokenizer/detokenizer.h"
#include "models/tokenizer/fingerprint.h"
#include "models/tokenizer/tokenizer.h"

namespace {

namespace chat = hadal::chat;
using hadal::tokenizer::Detokenizer;
using hadal::tokenizer::EncodeOptions;
using hadal::tokenizer::Tokenizer;
using nlohmann::json;
using nlohmann::ordered_json;

// The member as a string, "" when it is missing or null.
std::string Member(const ordered_json& object, const char* key) {
  return object.contains(key) && object.at(key).is_string() ? object.at(key).get<std::string>() : "";
}

json Chat(const Tokenizer& tokenizer, const ordered_json& value) {
  std::vector<chat::ChatMessage> messages;
  for (const auto& in : value.at("messages")) {
    chat::ChatMessage& message = messages.emplace_back();
    message.role = Member(in, "role");
    message.content = Member(in, "content");
    message.reasoning_content = Member(in, "reasoning_content");
    message.tool_call_id = Member(in, "tool_call_id");
    for (const auto& call : in.value("tool_calls", ordered_json::array())) {
      const auto& function = call.at("function");
      message.tool_calls.push_back({Member(call, "id"), Member(function, "name"), Member(function, "arguments")});
    }
  }
  chat::ChatOptions options;
  options.thinking = value.value("thinking", true);
  options.thinking_given = value.contains("thinking");
  options.add_generation_prompt = value.value("add_generation_prompt", true);
  if (value.contains("kwargs")) options.template_arguments_json = value.at("kwargs").dump();
  if (Member(value, "effort") == "max") options.reasoning_effort = chat::ReasoningEffort::kMax;
  for (const auto& tool : value.value("tools", ordered_json::array())) {
    const auto& function = tool.at("function");
    options.tools.push_back({.name = Member(function, "name"),
                             .description = Member(function, "description"),
                             .parameters_json = function.value("parameters", ordered_json::object()).dump(),
                             .definition_json = function.dump()});
  }
  const auto chat_template = chat::ChatTemplate::Detect(tokenizer, Member(value, "family"));
  if (!chat_template.ok()) return {{"error", std::string(chat_template.status().message())}};
  const auto prompt = chat_template->Render(messages, options);
  if (!prompt.ok()) return {{"error", std::string(prompt.status().message())}};
  return {{"style", std::string(chat::ChatStyleName(chat_template->style()))},
          {"text", prompt->Text()},
          {"ids", *chat::EncodePrompt(tokenizer, *prompt)}};
}

json Convert(const Tokenizer& tokenizer, const std::string& mode, const json& value) {
  if (mode == "check") {  // for a model with so many rows
    const auto status = hadal::tokenizer::CheckTokenizer(tokenizer, value.get<int32_t>());
    return {{"fingerprint", hadal::tokenizer::Fingerprint(tokenizer)}, {"error", std::string(status.message())}};
  }
  if (mode == "decode" || mode == "decode_skip")
    return tokenizer.Decode(value.get<std::vector<int32_t>>(), mode == "decode_skip");
  if (mode == "stream") {
    Detokenizer detokenizer(tokenizer, /*skip_special_tokens=*/false);
    std::string text;
    for (const int32_t id : value.get<std::vector<int32_t>>()) text += detokenizer.Append(id);
    return text + detokenizer.Flush();
  }
  EncodeOptions options;
  options.add_special_tokens = mode == "encode_special";
  options.allow_added_tokens = mode != "encode_safe";
  const auto ids = tokenizer.Encode(value.get<std::string>(), options);
  if (!ids.ok()) return {{"error", std::string(ids.status().message())}};
  return *ids;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr
        << "usage: hadal_tokenize_tool DIR encode|encode_safe|encode_special|decode|decode_skip|stream|chat|check\n";
    return 2;
  }
  const auto tokenizer = Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().message() << "\n";
    return 1;
  }
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) {
      std::cerr << "not JSON: " << line << "\n";
      return 1;
    }
    const bool chat = std::string_view(argv[2]) == "chat";
    const json result = chat ? Chat(**tokenizer, ordered_json::parse(line)) : Convert(**tokenizer, argv[2], value);
    std::cout << result.dump() << "\n";
  }
  return 0;
}
