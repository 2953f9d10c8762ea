// SPDX-License-Identifier: Apache-2.0
#include "models/chat/chat_template.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "models/chat/chat_styles.h"
#include "models/chat/jinja_chat.h"
#include "models/chat/prompt_builder.h"
#include "models/chat/published_templates.h"
#include "models/chat/style_detection.h"
#include "models/concat.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

constexpr struct {
  ChatStyle style;
  std::string_view name;
} kStyles[] = {
    {ChatStyle::kDeepSeekV2, "deepseek-v2"},
    {ChatStyle::kDeepSeekV3, "deepseek-v3"},
    {ChatStyle::kDeepSeekR1, "deepseek-r1"},
    {ChatStyle::kDeepSeekV31, "deepseek-v3.1"},
    {ChatStyle::kDeepSeekV32, "deepseek-v3.2"},
    {ChatStyle::kDeepSeekV4, "deepseek-v4"},
    {ChatStyle::kDeepSeekCoder, "deepseek-coder"},
    {ChatStyle::kChatMl, "chatml"},
    {ChatStyle::kLlama3, "llama-3"},
};

// What Qwen3's publishers put where thinking has to end early (Qwen3 Technical Report, section 4.3).
constexpr std::string_view kQwenThinkingEnd =
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
    "</think>";
constexpr std::string_view kQwenThinkingSwitch = "enable_thinking";

absl::Status CheckMessages(absl::Span<const ChatMessage> messages, const ChatOptions& options, ChatStyle style,
                           bool has_tools) {
  if (messages.empty()) return absl::InvalidArgumentError("messages is empty");
  if (!options.tools.empty() && !has_tools) {
    return absl::InvalidArgumentError(
        models::Concat("tools are not supported by the chat template ", ChatStyleName(style)));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool assistant = message.role == "assistant";
    const bool tool = message.role == "tool";
    if (message.role == kLatestReminder) {
      if (style == ChatStyle::kDeepSeekV4) continue;
      return absl::InvalidArgumentError(models::Concat("messages[", i,
                                                       "].role is \"latest_reminder\", which the chat template ",
                                                       ChatStyleName(style), " does not know"));
    }
    if (!assistant && !tool && message.role != "user" && !IsSystemRole(message)) {
      return absl::InvalidArgumentError(models::Concat("messages[", i, "].role is \"", message.role.substr(0, 64),
                                                       "\"; expected system, developer, user, assistant or tool"));
    }
    if (message.prefix && (!assistant || i + 1 != messages.size())) {
      return absl::InvalidArgumentError(
          models::Concat("messages[", i, "].prefix is only allowed in a last message of the assistant"));
    }
    if (!message.tool_calls.empty() && !assistant) {
      return absl::InvalidArgumentError(
          models::Concat("messages[", i, "].tool_calls is only allowed for the assistant"));
    }
    if ((tool || !message.tool_calls.empty()) && !has_tools) {
      return absl::InvalidArgumentError(models::Concat(
          "messages[", i, "]: tool messages are not supported by the chat template ", ChatStyleName(style)));
    }
  }
  return absl::OkStatus();
}

// The messages with the tool messages after each assistant message in the order of its calls; empty when they are so
// already. Unknown ids keep their place at the front.
std::vector<ChatMessage> WithResultsInCallOrder(absl::Span<const ChatMessage> messages) {
  std::vector<ChatMessage> out;
  const auto is_tool = [&](size_t i) { return i < messages.size() && messages[i].role == "tool"; };
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::vector<ChatToolCall>& calls = messages[i].tool_calls;
    if (calls.size() < 2) continue;
    size_t end = i + 1;
    while (is_tool(end)) ++end;
    std::unordered_map<std::string_view, size_t> places;
    for (size_t call = 0; call < calls.size(); ++call) places.emplace(calls[call].id, call);
    const auto earlier = [&](const ChatMessage& a, const ChatMessage& b) {
      const auto place = [&](const ChatMessage& message) {
        const auto found = places.find(message.tool_call_id);
        return found == places.end() ? 0 : found->second;
      };
      return place(a) < place(b);
    };
    if (std::is_sorted(messages.begin() + i + 1, messages.begin() + end, earlier)) continue;
    if (out.empty()) out.assign(messages.begin(), messages.end());
    std::stable_sort(out.begin() + i + 1, out.begin() + end, earlier);
  }
  return out;
}

}  // namespace

std::string_view ChatStyleName(ChatStyle style) {
  for (const auto& known : kStyles) {
    if (known.style == style) return known.name;
  }
  return "jinja";
}

std::optional<ChatStyle> ChatStyleFromName(std::string_view name) {
  for (const auto& known : kStyles) {
    if (known.name == name) return known.style;
  }
  return std::nullopt;
}

std::string ChatStyleNames() {
  std::string names;
  for (const auto& known : kStyles) names += models::Concat(names.empty() ? "" : ", ", known.name);
  return names;
}

std::string Prompt::Text() const {
  std::string text;
  for (const Piece& piece : pieces) text += piece.text;
  return text;
}

absl::StatusOr<ChatTemplate> ChatTemplate::Detect(const tokenizer::Tokenizer& tokenizer, std::string_view family) {
  const std::string& text = tokenizer.chat_template();
  if (text.empty()) return BuiltIn(tokenizer, family);
  const bool published = IsPublishedTemplate(text);
  absl::StatusOr<ChatTemplate> made =
      published ? BuiltIn(tokenizer, family)
                : FromJinja(text, tokenizer.chat_template_file(), tokenizer.tool_chat_template(), tokenizer);
  if (made.ok()) made->origin_ = published ? "its published template" : "the checkpoint's template";
  return made;
}

absl::StatusOr<ChatTemplate> ChatTemplate::FromJinja(std::string_view source, std::string_view name,
                                                     std::string_view tool_source,
                                                     const tokenizer::Tokenizer& tokenizer) {
  ChatTemplate out;
  out.style_ = ChatStyle::kJinja;
  HADAL_ASSIGN_OR_RETURN(out.jinja_, JinjaChat::Compile(source, name, tool_source, tokenizer));
  const std::string_view parsed = tool_source.empty() ? source : tool_source;
  if (out.jinja_->shows_tools()) out.tool_syntax_ = ToolSyntaxOfTemplate(parsed);
  out.has_thinking_switch_ = out.jinja_->has_thinking_switch();
  out.has_reasoning_ = tokenizer.TokenId(kThinkBegin).has_value() || parsed.find(kThinkEnd) != parsed.npos;
  const bool qwen = parsed.find("<|im_start|>") != parsed.npos && parsed.find(kQwenThinkingSwitch) != parsed.npos;
  if (qwen) out.early_thinking_end_ = kQwenThinkingEnd;
  return out;
}

absl::StatusOr<ChatTemplate> ChatTemplate::BuiltIn(const tokenizer::Tokenizer& tokenizer, std::string_view family) {
  const std::optional<DetectedStyle> found = DetectStyle(tokenizer, family);
  if (!found) {
    return absl::NotFoundError(
        tokenizer.chat_template().empty()
            ? "no chat template for this model: tokenizer_config.json has none and the vocabulary has no known chat "
              "tokens"
            : "no chat template for this model: the one in tokenizer_config.json is of no known generation");
  }
  absl::StatusOr<ChatTemplate> made = ForStyle(found->style, tokenizer);
  if (made.ok()) made->origin_ = found->origin;
  return made;
}

absl::StatusOr<ChatTemplate> ChatTemplate::ForStyle(ChatStyle style, const tokenizer::Tokenizer& tokenizer) {
  const std::string& text = tokenizer.chat_template();
  const auto says = [&](std::string_view what) { return text.find(what) != text.npos; };
  ChatTemplate out;
  out.style_ = style;
  out.bos_ = tokenizer.bos_token();
  out.eos_ = tokenizer.eos_token();
  switch (style) {
    case ChatStyle::kDeepSeekV3:
      out.tool_syntax_ = ToolSyntax::kDeepSeekV3;
      out.opens_after_user_ = AnswersOpenAfterUser(text);
      break;
    case ChatStyle::kDeepSeekR1:
      out.tool_syntax_ = ToolSyntax::kDeepSeekV3;
      // Without a text of its own the form that always thinks; the first and the 0528 release leave <think>
      // to the model.
      out.forces_think_ = text.empty() || OpensThink(text);
      out.opens_after_user_ = AnswersOpenAfterUser(text);
      out.joins_results_ = JoinsResults(text);
      out.has_reasoning_ = true;
      out.strips_reasoning_ = true;
      break;
    case ChatStyle::kDeepSeekV31:
      out.tool_syntax_ = ToolSyntax::kDeepSeekV31;
      break;
    case ChatStyle::kDeepSeekV32:
      out.tool_syntax_ = ToolSyntax::kDsmlV32;
      break;
    case ChatStyle::kDeepSeekV4:
      out.tool_syntax_ = ToolSyntax::kDsmlV4;
      break;
    case ChatStyle::kChatMl:
      out.default_system_ = DefaultSystem(text);
      if (says(ToolMarkupOf(ToolSyntax::kHermes).opener)) out.tool_syntax_ = ToolSyntax::kHermes;
      out.has_thinking_switch_ = says(kQwenThinkingSwitch);
      if (out.has_thinking_switch_) out.early_thinking_end_ = kQwenThinkingEnd;
      out.has_reasoning_ = tokenizer.TokenId(kThinkBegin).has_value();
      out.strips_reasoning_ = says(kThinkEnd);
      break;
    case ChatStyle::kDeepSeekV2:
    case ChatStyle::kDeepSeekCoder:
    case ChatStyle::kLlama3:
    case ChatStyle::kJinja:
      break;
  }
  if (style == ChatStyle::kDeepSeekV31 || style == ChatStyle::kDeepSeekV32 || style == ChatStyle::kDeepSeekV4) {
    out.has_thinking_switch_ = true;
    out.has_reasoning_ = true;
  }
  return out;
}

absl::StatusOr<Prompt> ChatTemplate::Render(absl::Span<const ChatMessage> messages, const ChatOptions& options) const {
  if (jinja_ != nullptr) return jinja_->Render(messages, options);
  if (!options.documents_json.empty()) {
    return absl::InvalidArgumentError("documents: the chat template of this model has no place for them");
  }
  HADAL_RETURN_IF_ERROR(CheckMessages(messages, options, style_, tool_syntax_ != ToolSyntax::kNone));
  const std::vector<ChatMessage> ordered = WithResultsInCallOrder(messages);
  const StyleInput input{.messages = ordered.empty() ? messages : absl::MakeConstSpan(ordered),
                         .options = &options,
                         .bos = bos_,
                         .eos = eos_,
                         .default_system = default_system_,
                         .tool_syntax = tool_syntax_,
                         .forces_think = forces_think_,
                         .opens_after_user = opens_after_user_,
                         .joins_results = joins_results_,
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
    case ChatStyle::kDeepSeekV32:
      status = RenderDeepSeekV32(input, &out);
      break;
    case ChatStyle::kDeepSeekV4:
      status = RenderDeepSeekV4(input, &out);
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
    case ChatStyle::kJinja:
      break;
  }
  if (!status.ok()) return status;
  return out.Take();
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const tokenizer::Tokenizer& tokenizer, const Prompt& prompt,
                                                  size_t max_tokens) {
  std::vector<tokenizer::TextSegment> segments;
  segments.reserve(prompt.pieces.size());
  for (const Prompt::Piece& piece : prompt.pieces) segments.push_back({piece.text, piece.control});
  return tokenizer.EncodeSegments(segments, /*add_special_tokens=*/false, max_tokens);
}

}  // namespace hadal::chat
