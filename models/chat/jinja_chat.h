// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/chat/chat_template.h"
#include "models/jinja/template.h"

namespace hadal::chat {

// Chats through a checkpoint's own Jinja template, with the variables that transformers gives it. Immutable and
// thread-safe.
class JinjaChat {
 public:
  // The errors of jinja::Template::Compile.
  static absl::StatusOr<std::shared_ptr<const JinjaChat>> Compile(std::string_view source, std::string_view name,
                                                                  std::string_view tool_source,
                                                                  const tokenizer::Tokenizer& tokenizer);

  // InvalidArgument with the template's own words where it refuses the messages, for a prefix message that it does not
  // keep, and for arguments that are no JSON object or name a variable that is not theirs.
  absl::StatusOr<Prompt> Render(absl::Span<const ChatMessage> messages, const ChatOptions& options) const;

  bool shows_tools() const { return TemplateFor(true).Reads("tools"); }
  bool has_thinking_switch() const { return template_->Reads("enable_thinking") || template_->Reads("thinking"); }

 private:
  JinjaChat() = default;
  const jinja::Template& TemplateFor(bool tools) const {
    return tools && tool_template_ != nullptr ? *tool_template_ : *template_;
  }
  absl::StatusOr<jinja::Template::Variables> VariablesOf(absl::Span<const ChatMessage> messages,
                                                         const ChatOptions& options) const;
  absl::StatusOr<jinja::Value> MessageValue(const ChatMessage& message) const;
  // Finds out what the template expects: of any content, and of the arguments and the content of a message that calls
  // tools.
  void Probe();
  jinja::Value ContentValue(const ChatMessage& message) const;

  std::shared_ptr<const jinja::Template> template_;
  std::shared_ptr<const jinja::Template> tool_template_;  // null without one
  jinja::Template::Variables special_tokens_;
  bool knows_developer_ = false;    // the template has a role of that name; else it gets "system"
  bool arguments_as_text_ = false;  // the template writes the arguments of calls as they are, not as JSON of an object
  bool content_as_parts_ = false;   // the template reads a list of parts, and drops a text
  bool empty_content_is_none_ = true;
};

}  // namespace hadal::chat
