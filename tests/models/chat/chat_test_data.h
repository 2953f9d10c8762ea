// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "models/chat/chat_template.h"
#include "tests/models/tokenizer/test_data.h"

namespace hadal::chat {

// Content of a file of tests/data/chat.
inline std::string ReadChatData(const std::string& name) { return tokenizer::ReadSource("tests/data/chat/" + name); }

inline constexpr char kBos[] = "<｜begin▁of▁sentence｜>";
inline constexpr char kEos[] = "<｜end▁of▁sentence｜>";

inline std::shared_ptr<const tokenizer::Tokenizer> WithTemplate(const std::string& template_text) {
  const nlohmann::json config = {{"bos_token", kBos}, {"eos_token", kEos}, {"chat_template", template_text}};
  return tokenizer::LoadTokenizer("deepseek_v3", config.dump());
}

// Messages in OpenAI's form.
inline std::vector<ChatMessage> ToMessages(const nlohmann::json& messages) {
  std::vector<ChatMessage> out;
  for (const nlohmann::json& message : messages) {
    ChatMessage m;
    m.role = message.at("role");
    m.content = message.at("content");
    m.reasoning_content = message.value("reasoning_content", "");
    m.tool_call_id = message.value("tool_call_id", "");
    for (const nlohmann::json& call : message.value("tool_calls", nlohmann::json::array())) {
      m.tool_calls.push_back(
          {call.value("id", ""), call.at("function").at("name"), call.at("function").at("arguments")});
    }
    out.push_back(std::move(m));
  }
  return out;
}

// Tools in OpenAI's form; ordered, so that schemas reach the renderer in the order of the file.
inline std::vector<ChatTool> ToTools(const nlohmann::ordered_json& tools) {
  std::vector<ChatTool> out;
  for (const auto& tool : tools) {
    const auto& function = tool.at("function");
    out.push_back({.name = function.at("name"),
                   .description = function.at("description"),
                   .parameters_json = function.at("parameters").dump(),
                   .definition_json = function.dump()});
  }
  return out;
}

}  // namespace hadal::chat
