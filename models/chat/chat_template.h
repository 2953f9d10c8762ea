// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/chat/tool_syntax.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::chat {

class JinjaChat;

struct ChatToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text, passed through unchanged
};

struct ChatMessage {
  std::string role;  // system, developer, user, assistant, tool; V4: latest_reminder
  std::string content;
  std::string reasoning_content;  // assistant only; which turns keep it is the generation's rule
  std::vector<ChatToolCall> tool_calls;
  std::string tool_call_id;
  std::string name;
  bool prefix = false;  // last assistant message: continue this text instead of starting a new turn
};

struct ChatTool {
  std::string name;
  std::string description;
  std::string parameters_json;  // JSON schema as the client sent it; empty means {}
  // The whole function object as the client sent it, for generations that show it unchanged (V3.2, V4, Qwen). Empty:
  // made of the fields above.
  std::string definition_json = {};
};

// How much a reasoning model should think. Only V4 is told; for the others every value means the same.
enum class ReasoningEffort { kDefault, kLow, kHigh, kMax };

struct ChatOptions {
  bool thinking = true;  // asks for a reasoning part where the template knows both modes
  // Whether somebody chose `thinking`: a Jinja template is told only then.
  bool thinking_given = false;
  bool add_generation_prompt = true;
  ReasoningEffort reasoning_effort = ReasoningEffort::kDefault;
  std::vector<ChatTool> tools;
  // JSON schema that the answer is to follow, shown to the generations that have a place for it (V3.2, V4);
  // may be empty.
  std::string response_schema_json = {};
  // JSON object of further variables for a Jinja template (chat_template_kwargs), whose texts are the client's; may be
  // empty. The built-in styles have none.
  std::string template_arguments_json = {};
  // JSON list of objects that the answer is to be drawn from, for a Jinja template, whose texts are the client's; may
  // be empty. The built-in styles have no place for them and refuse.
  std::string documents_json = {};
};

// A rendered prompt: literals of the template (control) and text of the users, in order.
struct Prompt {
  struct Piece {
    std::string text;
    bool control = false;
  };
  std::vector<Piece> pieces;
  // The template opened <think>: what the model generates starts inside the reasoning.
  bool reasoning_starts_open = false;

  std::string Text() const;
};

enum class ChatStyle {
  kDeepSeekV2,
  kDeepSeekV3,
  kDeepSeekR1,
  kDeepSeekV31,
  kDeepSeekV32,
  kDeepSeekV4,
  kDeepSeekCoder,
  kChatMl,
  kLlama3,
  kJinja,  // the checkpoint's own template is run
};
std::string_view ChatStyleName(ChatStyle style);  // "deepseek-v3.1", ...
std::optional<ChatStyle> ChatStyleFromName(std::string_view name);
// "deepseek-v2, deepseek-v3, ...", for messages.
std::string ChatStyleNames();

// Renders messages to a prompt as one model generation expects it. Value type, immutable, thread-safe.
class ChatTemplate {
 public:
  // How the checkpoint is to be prompted. Its own Jinja template is run, unless its text is a published one that a
  // built-in style renders. Without a template: V3.2 and V4 are known by `family` (the name of the model family,
  // "deepseek_v4"; may be empty); the last resort are the control tokens of the vocabulary. InvalidArgument, with file
  // and line, for a template that does not compile. NotFound "no chat template for ..." when nothing is known; servers
  // report it when a chat request comes.
  static absl::StatusOr<ChatTemplate> Detect(const tokenizer::Tokenizer& tokenizer, std::string_view family = {});
  // A built-in style alone, by what the template's text says, the family or the vocabulary.
  static absl::StatusOr<ChatTemplate> BuiltIn(const tokenizer::Tokenizer& tokenizer, std::string_view family = {});
  // Runs a Jinja template; `name` stands in errors, `tool_source` (may be empty) is taken for chats with tools.
  static absl::StatusOr<ChatTemplate> FromJinja(std::string_view source, std::string_view name,
                                                std::string_view tool_source, const tokenizer::Tokenizer& tokenizer);
  static absl::StatusOr<ChatTemplate> ForStyle(ChatStyle style, const tokenizer::Tokenizer& tokenizer);

  // InvalidArgument for an unknown role, a prefix message that is not last, tools where the style has no syntax for
  // them. Tool messages are put into the order of the calls that they answer by their ids: a prompt shows no ids.
  absl::StatusOr<Prompt> Render(absl::Span<const ChatMessage> messages, const ChatOptions& options) const;

  ChatStyle style() const { return style_; }
  // What Detect went by: "the checkpoint's template", "its published template", "the model family" or "the
  // vocabulary"; "the caller" for ForStyle and FromJinja.
  std::string_view origin() const { return origin_; }
  ToolSyntax tool_syntax() const { return tool_syntax_; }
  // Whether ChatOptions::thinking changes the prompt.
  bool has_thinking_switch() const { return has_thinking_switch_; }
  // Whether outputs may hold a reasoning part at all.
  bool has_reasoning() const { return has_reasoning_; }
  // What ends reasoning early: </think>, behind a sentence where the publishers of the family put one.
  std::string_view early_thinking_end() const { return early_thinking_end_; }
  // Other parsers of the output than those that the template and the vocabulary suggest.
  void set_tool_syntax(ToolSyntax syntax) { tool_syntax_ = syntax; }
  void set_has_reasoning(bool has_reasoning) { has_reasoning_ = has_reasoning; }

 private:
  ChatTemplate() = default;
  ChatStyle style_ = ChatStyle::kDeepSeekV3;
  std::string_view origin_ = "the caller";
  ToolSyntax tool_syntax_ = ToolSyntax::kNone;
  std::string bos_;
  std::string eos_;
  std::string default_system_;     // ChatML: what the template says when there is no system message
  bool forces_think_ = false;      // R1: the generation prompt ends with <think>\n
  bool opens_after_user_ = false;  // V3-0324, R1-0528: <｜Assistant｜> follows every user message
  bool joins_results_ = false;     // R1: no line break between the results of tools
  bool has_thinking_switch_ = false;
  bool has_reasoning_ = false;
  bool strips_reasoning_ = false;  // history turns lose everything up to </think>
  std::string_view early_thinking_end_ = kThinkEnd;
  std::shared_ptr<const JinjaChat> jinja_;  // kJinja
};

// Ids of a rendered prompt: literals may become control tokens, user text never does. The prompt carries its own bos.
// OutOfRange for more than `max_tokens`.
absl::StatusOr<std::vector<int32_t>> EncodePrompt(const tokenizer::Tokenizer& tokenizer, const Prompt& prompt,
                                                  size_t max_tokens = tokenizer::EncodeOptions::kAnyNumber);

}  // namespace hadal::chat
