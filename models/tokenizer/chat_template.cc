// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/chat_template.h"

#include <utility>

#include "models/tokenizer/chat_styles.h"
#include "models/tokenizer/concat.h"
#include "models/tokenizer/prompt_builder.h"
#include "models/tokenizer/status_macros.h"

namespace hadal::tokenizer {
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

// Whether the text opens <think> somewhere without closing it at once (an empty block is how thinking is switched off).
bool OpensThink(std::string_view text) {
  for (size_t at = text.find("<think>"); at != text.npos; at = text.find("<think>", at + 1)) {
    std::string_view rest = text.substr(at + 7);
    while (rest.starts_with("\\n") || rest.starts_with("\n")) rest.remove_prefix(rest[0] == '\n' ? 1 : 2);
    if (!rest.starts_with("</think>")) return true;
  }
  return false;
}

// The style of a template's text, by the literals only that generation has.
std::optional<ChatStyle> StyleOfTemplate(std::string_view text) {
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

std::optional<ChatStyle> StyleOfVocabulary(const Tokenizer& tokenizer) {
  const auto has = [&](std::string_view token) { return tokenizer.TokenId(token).has_value(); };
  if (has("<｜User｜>") && has("<｜Assistant｜>"))
    return has("<think>") ? ChatStyle::kDeepSeekV31 : ChatStyle::kDeepSeekV3;
  if (has("<|im_start|>") && has("<|im_end|>")) return ChatStyle::kChatMl;
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return ChatStyle::kLlama3;
  return std::nullopt;
}

// Qwen's templates speak for themselves when the client gives no system message.
std::string DefaultSystem(std::string_view text) {
  for (const std::string_view sentence :
       {"You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", "You are a helpful assistant."}) {
    if (Has(text, sentence)) return std::string(sentence);
  }
  return {};
}

absl::Status CheckMessages(absl::Span<const ChatMessage> messages, const ChatOptions& options, ChatStyle style,
                           bool has_tools) {
  if (messages.empty()) return absl::InvalidArgumentError("messages is empty");
  if (!options.tools.empty() && !has_tools) {
    return absl::InvalidArgumentError(Concat("tools are not supported by the chat template ", ChatStyleName(style)));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool assistant = message.role == "assistant";
    const bool tool = message.role == "tool";
    if (!assistant && !tool && message.role != "user" && !IsSystemRole(message)) {
      return absl::InvalidArgumentError(Concat("messages[", i, "].role is \"", message.role.substr(0, 64),
                                               "\"; expected system, developer, user, assistant or tool"));
    }
    if (message.prefix && (!assistant || i + 1 != messages.size())) {
      return absl::InvalidArgumentError(
          Concat("messages[", i, "].prefix is only allowed in a last message of the assistant"));
    }
    if (!message.tool_calls.empty() && !assistant) {
      return absl::InvalidArgumentError(Concat("messages[", i, "].tool_calls is only allowed for the assistant"));
    }
    if ((tool || !message.tool_calls.empty()) && !has_tools) {
      return absl::InvalidArgumentError(
          Concat("messages[", i, "]: tool messages are not supported by the chat template ", ChatStyleName(style)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view ChatStyleName(ChatStyle style) {
  switch (style) {
    case ChatStyle::kDeepSeekV2:
      return "deepseek-v2";
    case ChatStyle::kDeepSeekV3:
      return "deepseek-v3";
    case ChatStyle::kDeepSeekR1:
      return "deepseek-r1";
    case ChatStyle::kDeepSeekV31:
      return "deepseek-v3.1";
    case ChatStyle::kDeepSeekCoder:
      return "deepseek-coder";
    case ChatStyle::kChatMl:
      return "chatml";
    case ChatStyle::kLlama3:
      return "llama-3";
  }
  return "unknown";
}

std::string Prompt::Text() const {
  std::string text;
  for (const Piece& piece : pieces) text += piece.text;
  return text;
}

absl::StatusOr<ChatTemplate> ChatTemplate::Detect(const Tokenizer& tokenizer) {
  const std::string& text = tokenizer.chat_template();
  const std::optional<ChatStyle> style = text.empty() ? StyleOfVocabulary(tokenizer) : StyleOfTemplate(text);
  if (!style) {
    return absl::NotFoundError(
        text.empty() ? "no chat template for this model: tokenizer_config.json has none and the vocabulary has no "
                       "known chat tokens"
                     : "no chat template for this model: the one in tokenizer_config.json is of no known generation");
  }
  return ForStyle(*style, tokenizer);
}

absl::StatusOr<ChatTemplate> ChatTemplate::ForStyle(ChatStyle style, const Tokenizer& tokenizer) {
  const std::string& text = tokenizer.chat_template();
  ChatTemplate out;
  out.style_ = style;
  out.bos_ = tokenizer.bos_token();
  out.eos_ = tokenizer.eos_token();
  // V3.2 and later write calls in a markup of their own, which is not rendered here: such checkpoints chat without
  // tools.
  out.has_tools_ = !Has(text, "DSML");
  const bool has_think_token = tokenizer.TokenId("<think>").has_value();
  switch (style) {
    case ChatStyle::kDeepSeekR1:
      // Without a text of its own the form that always thinks; the first and the 0528 release leave <think> to the
      // model.
      out.forces_think_ = text.empty() || OpensThink(text);
      out.has_reasoning_ = true;
      out.strips_reasoning_ = true;
      break;
    case ChatStyle::kDeepSeekV31:
      out.has_thinking_switch_ = true;
      out.has_reasoning_ = true;
      break;
    case ChatStyle::kChatMl:
      out.default_system_ = DefaultSystem(text);
      out.has_thinking_switch_ = Has(text, "enable_thinking");
      out.has_reasoning_ = has_think_token;
      out.strips_reasoning_ = Has(text, "</think>");
      break;
    case ChatStyle::kDeepSeekV3:
    case ChatStyle::kDeepSeekV2:
    case ChatStyle::kDeepSeekCoder:
    case ChatStyle::kLlama3:
      break;
  }
  return out;
}

ToolSyntax ChatTemplate::tool_syntax() const {
  if (!has_tools_) return ToolSyntax::kNone;
  switch (style_) {
    case ChatStyle::kDeepSeekV3:
    case ChatStyle::kDeepSeekR1:
      return ToolSyntax::kDeepSeekV3;
    case ChatStyle::kDeepSeekV31:
      return ToolSyntax::kDeepSeekV31;
    default:
      return ToolSyntax::kNone;
  }
}

absl::StatusOr<Prompt> ChatTemplate::Render(absl::Span<const ChatMessage> messages, const ChatOptions& options) const {
  HADAL_TOKENIZER_RETURN_IF_ERROR(CheckMessages(messages, options, style_, tool_syntax() != ToolSyntax::kNone));
  const StyleInput input{.messages = messages,
                         .options = &options,
                         .bos = bos_,
                         .eos = eos_,
                         .default_system = default_system_,
                         .forces_think = forces_think_,
                         .strips_reasoning = strips_reasoning_,
                         .has_thinking_switch = has_thinking_switch_};
  PromptBuilder out;
  absl::Status status;
  switch (style_) {
    case ChatStyle::kDeepSeekV3:
    case ChatStyle::kDeepSeekR1:
      status = RenderDeepSeekV3(input, &out);
      break;
    case ChatStyle::kDeepSeekV31:
      status = RenderDeepSeekV31(input, &out);
      break;
    case ChatStyle::kDeepSeekV2:
      status = RenderDeepSeekV2(input, &out);
      break;
    case ChatStyle::kDeepSeekCoder:
      status = RenderDeepSeekCoder(input, &out);
      break;
    case ChatStyle::kChatMl:
      status = RenderChatMl(input, &out);
      break;
    case ChatStyle::kLlama3:
      status = RenderLlama3(input, &out);
      break;
  }
  if (!status.ok()) return status;
  return out.Take();
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Tokenizer& tokenizer, const Prompt& prompt) {
  std::vector<TextSegment> segments;
  segments.reserve(prompt.pieces.size());
  for (const Prompt::Piece& piece : prompt.pieces) segments.push_back({piece.text, piece.control});
  return tokenizer.EncodeSegments(segments, /*add_special_tokens=*/false);
}

}  // namespace hadal::tokenizer
