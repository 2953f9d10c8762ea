// SPDX-License-Identifier: Apache-2.0
#include "models/chat/style_detection.h"

namespace hadal::chat {
namespace {

bool Has(std::string_view text, std::string_view what) { return text.find(what) != text.npos; }

// Whether the text has V3.1's variable "thinking", which is not R1's optional "enable_thinking".
bool HasThinkingVariable(std::string_view text) {
  constexpr std::string_view kOther = "enable_";
  for (size_t at = text.find("thinking"); at != text.npos; at = text.find("thinking", at + 1)) {
    if (!text.substr(0, at).ends_with(kOther)) return true;
  }
  return false;
}

// The style of a template's text, by the literals only that generation has.
std::optional<ChatStyle> StyleOfTemplate(std::string_view text) {
  // Written by third parties for V3.2 and V4, which are published without a template.
  if (Has(text, "DSML")) return Has(text, "function_calls") ? ChatStyle::kDeepSeekV32 : ChatStyle::kDeepSeekV4;
  if (Has(text, "<｜User｜>") && Has(text, "<｜Assistant｜>")) {
    if (Has(text, "</think>") && HasThinkingVariable(text))
      return ChatStyle::kDeepSeekV31;  // the variable of both modes
    if (Has(text, "<think>") || Has(text, "</think>")) return ChatStyle::kDeepSeekR1;
    return ChatStyle::kDeepSeekV3;
  }
  if (Has(text, "### Instruction:") && Has(text, "### Response:")) return ChatStyle::kDeepSeekCoder;
  if (Has(text, "<|im_start|>")) return ChatStyle::kChatMl;
  if (Has(text, "<|start_header_id|>")) return ChatStyle::kLlama3;
  if (Has(text, "User: ") && Has(text, "Assistant:")) return ChatStyle::kDeepSeekV2;
  return std::nullopt;
}

std::optional<ChatStyle> StyleOfFamily(std::string_view family) {
  if (family == "deepseek_v32") return ChatStyle::kDeepSeekV32;
  if (family == "deepseek_v4") return ChatStyle::kDeepSeekV4;
  return std::nullopt;
}

std::optional<ChatStyle> StyleOfVocabulary(const tokenizer::Tokenizer& tokenizer) {
  const auto has = [&](std::string_view token) { return tokenizer.TokenId(token).has_value(); };
  if (has("<｜User｜>") && has("<｜Assistant｜>")) {
    if (has("｜DSML｜")) return ChatStyle::kDeepSeekV4;
    return has("<think>") ? ChatStyle::kDeepSeekV31 : ChatStyle::kDeepSeekV3;
  }
  if (has("<|im_start|>") && has("<|im_end|>")) return ChatStyle::kChatMl;
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return ChatStyle::kLlama3;
  return std::nullopt;
}

}  // namespace

std::optional<DetectedStyle> DetectStyle(const tokenizer::Tokenizer& tokenizer, std::string_view family) {
  const std::string& text = tokenizer.chat_template();
  const auto from = [](std::optional<ChatStyle> style, std::string_view origin) -> std::optional<DetectedStyle> {
    if (!style) return std::nullopt;
    return DetectedStyle{*style, origin};
  };
  if (!text.empty()) return from(StyleOfTemplate(text), "the checkpoint's template");
  if (const auto style = StyleOfFamily(family)) return from(style, "the model family");
  return from(StyleOfVocabulary(tokenizer), "the vocabulary");
}

bool OpensThink(std::string_view text) {
  for (size_t at = text.find(kThinkBegin); at != text.npos; at = text.find(kThinkBegin, at + 1)) {
    std::string_view rest = text.substr(at + kThinkBegin.size());
    while (rest.starts_with("\\n") || rest.starts_with("\n")) rest.remove_prefix(rest[0] == '\n' ? 1 : 2);
    if (!rest.starts_with(kThinkEnd)) return true;
  }
  return false;
}

bool AnswersOpenAfterUser(std::string_view text) {
  const size_t user = text.find("<｜User｜>");
  if (user == text.npos) return false;
  const std::string_view expression = text.substr(user, text.find("}}", user) - user);
  return Has(expression, "<｜Assistant｜>");
}

bool JoinsResults(std::string_view text) {
  return Has(text, "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>") && !Has(text, "\\n<｜tool▁output▁begin｜>") &&
         !Has(text, "\n<｜tool▁output▁begin｜>");
}

ToolSyntax ToolSyntaxOfTemplate(std::string_view text) {
  if (Has(text, "DSML")) return Has(text, "function_calls") ? ToolSyntax::kDsmlV32 : ToolSyntax::kDsmlV4;
  if (Has(text, "<｜tool▁calls▁begin｜>"))
    return Has(text, "```json") ? ToolSyntax::kDeepSeekV3 : ToolSyntax::kDeepSeekV31;
  if (Has(text, "<function=") && Has(text, "<parameter=")) return ToolSyntax::kQwenXml;
  if (Has(text, "<tool_call>") && !Has(text, "<function=")) return ToolSyntax::kHermes;
  if (Has(text, "[TOOL_CALLS]")) return Has(text, "[ARGS]") ? ToolSyntax::kMistralArgs : ToolSyntax::kMistral;
  // Llama 3.1 has the token, 3.2 only the sentence.
  const bool llama = Has(text, "<|python_tag|>") || Has(text, "dictionary of argument name and its value");
  if (llama && Has(text, "\"parameters\": ")) return ToolSyntax::kLlama3;
  return ToolSyntax::kNone;
}

std::string_view DefaultSystem(std::string_view text) {
  for (const std::string_view sentence :
       {"You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", "You are a helpful assistant."}) {
    if (Has(text, sentence)) return sentence;
  }
  return {};
}

}  // namespace hadal::chat
