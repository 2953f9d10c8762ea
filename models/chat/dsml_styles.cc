// SPDX-License-Identifier: Apache-2.0
// Prompts of V3.2 and V4, which are published with an encoder in Python instead of a template
// (encoding_dsv32.py and encoding_dsv4.py of the checkpoints).
#include <algorithm>
#include <vector>

#include "models/chat/chat_styles.h"
#include "models/chat/python_json.h"
#include "models/chat/tool_rendering.h"
#include "models/concat.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kUser = "<｜User｜>";
constexpr std::string_view kAssistant = "<｜Assistant｜>";

constexpr std::string_view kToolsV32Head =
    R"(## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
)";
constexpr std::string_view kToolsV32Tail = "\n</functions>\n";

constexpr std::string_view kToolsV4Head =
    R"(## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<｜DSML｜tool_calls>" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="$TOOL_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$TOOL_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

)";
constexpr std::string_view kToolsV4Tail =
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n";

constexpr std::string_view kMaxEffort =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";

enum class Kind { kSystem, kUser, kDeveloper, kReminder, kTool, kAssistant };

// One turn of the prompt. V4 joins user and tool messages that follow each other; all other turns are one message.
struct Turn {
  Kind kind;
  std::vector<const ChatMessage*> messages;
  bool user() const { return kind == Kind::kUser || kind == Kind::kDeveloper; }
};

// The encoders know a developer who asks in the user's place; OpenAI's clients send instructions under that role. It is
// a question when the assistant answers it, and instructions when a user's message comes first.
Kind KindOf(absl::Span<const ChatMessage> messages, size_t i) {
  const std::string& role = messages[i].role;
  if (role == "user") return Kind::kUser;
  if (role == "tool") return Kind::kTool;
  if (role == "assistant") return Kind::kAssistant;
  if (role == kLatestReminder) return Kind::kReminder;
  if (role == "system") return Kind::kSystem;
  for (size_t next = i + 1; next < messages.size() && messages[next].role != "assistant"; ++next) {
    if (messages[next].role != kLatestReminder) return Kind::kSystem;
  }
  return Kind::kDeveloper;
}

std::vector<Turn> TurnsOf(absl::Span<const ChatMessage> messages, bool merge_users) {
  std::vector<Turn> turns;
  for (size_t i = 0; i < messages.size(); ++i) {
    Kind kind = KindOf(messages, i);
    if (merge_users && kind == Kind::kTool) kind = Kind::kUser;
    if (merge_users && kind == Kind::kUser && !turns.empty() && turns.back().kind == Kind::kUser) {
      turns.back().messages.push_back(&messages[i]);
    } else {
      turns.push_back({kind, {&messages[i]}});
    }
  }
  return turns;
}

// Everything a renderer of one request needs; turns stay in place.
class DsmlRenderer {
 public:
  DsmlRenderer(const StyleInput& input, bool v4, PromptBuilder* out)
      : input_(input),
        v4_(v4),
        thinking_(input.options->thinking),
        drops_reasoning_(!v4 || input.options->tools.empty()),
        turns_(TurnsOf(input.messages, /*merge_users=*/v4)),
        out_(out) {
    const auto find_last_user = [this] {
      for (size_t i = 0; i < turns_.size(); ++i) {
        if (turns_[i].user()) last_user_ = static_cast<ptrdiff_t>(i);
      }
    };
    find_last_user();
    if (thinking_ && drops_reasoning_ && last_user_ > 0) {
      // Earlier questions of a developer go with the reasoning.
      const auto end = turns_.begin() + last_user_;
      turns_.erase(std::remove_if(turns_.begin(), end, [](const Turn& turn) { return turn.kind == Kind::kDeveloper; }),
                   end);
      find_last_user();
    }
  }

  absl::Status Render() {
    out_->Control(input_.bos);
    if (v4_ && thinking_ && input_.options->reasoning_effort == ReasoningEffort::kMax) out_->Control(kMaxEffort);
    const Kind first = turns_.front().kind;
    // Without a message to carry them, tools and schema stand in a system message of their own.
    if (first != Kind::kSystem && first != Kind::kDeveloper) HADAL_RETURN_IF_ERROR(AddBlocks());
    for (size_t i = 0; i < turns_.size(); ++i) HADAL_RETURN_IF_ERROR(AddTurn(i));
    return absl::OkStatus();
  }

 private:
  bool Last(size_t i) const { return i + 1 == turns_.size(); }
  bool BeforeLastUser(size_t i) const { return static_cast<ptrdiff_t>(i) < last_user_; }
  // Whether the answer to turn `i` begins with reasoning that the prompt keeps or the model writes.
  bool Thinks(size_t i) const { return thinking_ && (!drops_reasoning_ || !BeforeLastUser(i)); }

  absl::Status AddTurn(size_t i) {
    const Turn& turn = turns_[i];
    const ChatMessage& message = *turn.messages.front();
    switch (turn.kind) {
      case Kind::kSystem:
        out_->Text(message.content);
        return i == 0 ? AddBlocks() : absl::OkStatus();
      case Kind::kDeveloper:
        HADAL_RETURN_IF_ERROR(AddDeveloper(message, i == 0));
        AddAnswerOpener(i);
        return absl::OkStatus();
      case Kind::kUser:
        AddUser(turn);
        AddAnswerOpener(i);
        return absl::OkStatus();
      case Kind::kTool:
        AddResult(message, i);
        return absl::OkStatus();
      case Kind::kReminder:
        return AddReminder(message, i);
      case Kind::kAssistant:
        AddAssistant(message, i);
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  absl::Status AddBlocks() {
    const ChatOptions& options = *input_.options;
    if (!options.tools.empty()) {
      out_->Control("\n\n").Control(v4_ ? kToolsV4Head : kToolsV32Head);
      bool first = true;
      for (const ChatTool& tool : options.tools) {
        HADAL_ASSIGN_OR_RETURN(const std::string definition, ToolDefinitionJson(tool));
        if (!first) out_->Control("\n");
        first = false;
        out_->Text(definition);
      }
      out_->Control(v4_ ? kToolsV4Tail : kToolsV32Tail);
    }
    if (!options.response_schema_json.empty()) {
      HADAL_ASSIGN_OR_RETURN(const std::string schema, ToPythonJson(options.response_schema_json));
      out_->Control("\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n")
          .Text(schema);
    }
    return absl::OkStatus();
  }

  absl::Status AddDeveloper(const ChatMessage& message, bool carries_blocks) {
    out_->Control(kUser);
    if (v4_) out_->Text(message.content);
    if (carries_blocks) HADAL_RETURN_IF_ERROR(AddBlocks());
    if (!v4_) out_->Control("\n\n# The user's message is: ").Text(message.content);
    return absl::OkStatus();
  }

  void AddUser(const Turn& turn) {
    out_->Control(kUser);
    bool first = true;
    for (const ChatMessage* message : turn.messages) {
      if (!first) out_->Control("\n\n");
      first = false;
      if (message->role == "tool") {
        out_->Control("<tool_result>").Text(message->content).Control("</tool_result>");
      } else {
        out_->Text(message->content);
      }
    }
  }

  // What stands between a question and its answer. V4 writes it only where an answer follows.
  void AddAnswerOpener(size_t i) {
    if (Last(i) ? !input_.options->add_generation_prompt : v4_ && turns_[i + 1].kind != Kind::kAssistant) return;
    out_->Control(kAssistant).Control(Thinks(i) ? kThinkBegin : kThinkEnd);
    out_->SetReasoningOpen(Last(i) && Thinks(i));
  }

  // V3.2 has a turn for results: one block after the calls, then the marker of the mode.
  void AddResult(const ChatMessage& message, size_t i) {
    const bool first = i == 0 || turns_[i - 1].kind != Kind::kTool;
    if (first) out_->Control("\n\n<function_results>");
    out_->Control("\n<result>").Text(message.content).Control("</result>");
    if (!Last(i) && turns_[i + 1].kind == Kind::kTool) return;
    out_->Control("\n</function_results>");
    if (Last(i) && !input_.options->add_generation_prompt) return;
    out_->Control("\n\n").Control(Thinks(i) ? kThinkBegin : kThinkEnd);
    out_->SetReasoningOpen(Last(i) && Thinks(i));
  }

  absl::Status AddReminder(const ChatMessage& message, size_t i) {
    if (Last(i) || !turns_[i + 1].user() || (i > 0 && turns_[i - 1].user())) {
      return absl::InvalidArgumentError(
          "a message of role latest_reminder must stand right before the user's turn, not inside or behind it");
    }
    out_->Control("<｜latest_reminder｜>").Text(message.content);
    return absl::OkStatus();
  }

  void AddAssistant(const ChatMessage& message, size_t i) {
    const bool thinks = thinking_ && (!drops_reasoning_ || static_cast<ptrdiff_t>(i) > last_user_);
    if (thinks) {
      out_->Text(message.reasoning_content);
      // A message to be continued that has no content yet is continued in its reasoning.
      const bool open = message.prefix && message.content.empty();
      out_->SetReasoningOpen(open);
      if (!open) out_->Control(kThinkEnd);
    }
    out_->Text(message.content);
    if (message.prefix) return;
    RenderToolCalls(input_.tool_syntax, message.tool_calls, /*leads=*/true, out_);
    out_->Control(input_.eos);
  }

  const StyleInput& input_;
  const bool v4_;
  const bool thinking_;
  const bool drops_reasoning_;  // of turns before the last user turn
  std::vector<Turn> turns_;
  ptrdiff_t last_user_ = -1;
  PromptBuilder* const out_;
};

}  // namespace

absl::Status RenderDeepSeekV32(const StyleInput& input, PromptBuilder* out) {
  return DsmlRenderer(input, /*v4=*/false, out).Render();
}

absl::Status RenderDeepSeekV4(const StyleInput& input, PromptBuilder* out) {
  return DsmlRenderer(input, /*v4=*/true, out).Render();
}

}  // namespace hadal::chat
