// SPDX-License-Identifier: Apache-2.0
#include <simdjson.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/messages_codec.h"
#include "server/http/codec/thinking_signature.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using base::View;
using simdjson::dom::element;
using simdjson::dom::object;

absl::Status NotOffered(std::string_view path, std::string_view type) {
  return InvalidField(path,
                      absl::StrCat("`", View(path), "` is a block of type \"", View(type.substr(0, kShownWordBytes)),
                                   "\"; this server takes text, thinking, tool_use and tool_result"));
}

// Blocks of a user's text and of results are lines, those of an assistant follow each other as they are.
void AppendLine(std::string_view text, std::string* out) {
  if (!out->empty()) out->push_back('\n');
  out->append(text);
}

// A text, or an array of blocks of text.
absl::Status ReadTextBlocks(const element& value, const std::string& path, std::string* out) {
  if (value.is_string()) return ReadString(value, path, out);
  return ReadParts(
      value, path, "a string or an array of text blocks", [&](const object& fields, const std::string& here) {
        std::string type, text;
        absl::Status status = ReadMember(fields, here, "type", &type);
        if (status.ok() && type != "text") {
          status = InvalidField(here, absl::StrCat("`", here, "` is a block of type \"",
                                                   type.substr(0, kShownWordBytes), "\"; only text is taken here"));
        }
        if (status.ok()) status = ReadMember(fields, here, "text", &text);
        if (status.ok()) AppendLine(text, out);
        return status;
      });
}

// Builds the call's messages turn by turn.
class TurnReader {
 public:
  explicit TurnReader(service::ChatCall* call) : call_(call) {}

  absl::Status Read(const element& turn, std::string path) {
    path_ = std::move(path);
    object fields;
    std::string role;
    absl::Status status = ReadObject(turn, path_, &fields);
    if (status.ok()) status = ReadMember(fields, path_, "role", &role);
    if (!status.ok()) return status;
    if (role != "user" && role != "assistant" && role != "system") {
      return InvalidField(path_ + ".role", absl::StrCat("`", path_, ".role` is \"", role.substr(0, kShownWordBytes),
                                                        "\"; it must be user, assistant or system"));
    }
    const absl::StatusOr<element> content = NeededMember(fields, path_, "content");
    if (!content.ok()) return content.status();
    const std::string here = path_ + ".content";
    turn_ = {};
    turn_.role = role;
    has_text_ = false;
    status = role == "system" ? ReadTextBlocks(*content, here, &turn_.content) : ReadContent(*content, here);
    if (status.ok()) Finish();
    return status;
  }

 private:
  absl::Status ReadContent(const element& value, const std::string& path) {
    if (value.is_string()) {
      has_text_ = true;
      return ReadString(value, path, &turn_.content);
    }
    return ReadParts(value, path, "a string or an array of blocks", [&](const object& fields, const std::string& here) {
      std::string type;
      absl::Status status = ReadMember(fields, here, "type", &type);
      return status.ok() ? ReadBlock(type, fields, here) : status;
    });
  }

  absl::Status ReadBlock(std::string_view type, const object& fields, const std::string& path) {
    const bool assistant = turn_.role == "assistant";
    if (type == "text") return ReadText(fields, path);
    if (assistant && type == "thinking") return ReadThinking(fields, path);
    // Another provider's, which nobody here can read.
    if (assistant && type == "redacted_thinking") return absl::OkStatus();
    if (assistant && type == "tool_use") return ReadToolUse(fields, path);
    if (!assistant && type == "tool_result") return ReadToolResult(fields, path);
    return NotOffered(path, type);
  }

  absl::Status ReadText(const object& fields, const std::string& path) {
    std::string text;
    if (absl::Status status = ReadMember(fields, path, "text", &text); !status.ok()) return status;
    has_text_ = true;
    if (turn_.role == "assistant") {
      turn_.content += text;
    } else {
      AppendLine(text, &turn_.content);
    }
    return absl::OkStatus();
  }

  absl::Status ReadThinking(const object& fields, const std::string& path) {
    std::string thinking, signature;
    absl::Status status = ReadMember(fields, path, "thinking", &thinking);
    if (status.ok()) status = ReadOptionalMember(fields, path, "signature", &signature);
    if (!status.ok()) return status;
    if (!SignatureFits(signature, thinking)) {
      const std::string here = path + ".signature";
      return InvalidField(here,
                          absl::StrCat("`", here, "` belongs to another text: thinking is to be sent back as it came"));
    }
    turn_.reasoning_content += thinking;
    return absl::OkStatus();
  }

  absl::Status ReadToolUse(const object& fields, const std::string& path) {
    if (turn_.tool_calls.size() > service::kMaxToolCallsPerMessage) return absl::OkStatus();
    chat::ChatToolCall call;
    absl::Status status = ReadMember(fields, path, "id", &call.id);
    if (status.ok()) status = ReadMember(fields, path, "name", &call.name);
    if (!status.ok()) return status;
    call.arguments = "{}";
    if (const std::optional<element> input = FindMember(fields, "input")) {
      if (!input->is_object()) return WrongType(path + ".input", "an object", *input);
      call.arguments = simdjson::minify(*input);
    }
    turn_.tool_calls.push_back(std::move(call));
    return absl::OkStatus();
  }

  // Becomes a message of its own at once, in front of the turn's text.
  absl::Status ReadToolResult(const object& fields, const std::string& path) {
    if (has_text_) {
      return InvalidField(path, absl::StrCat("`", path, "` is a tool_result behind a text; results come first"));
    }
    chat::ChatMessage result;
    result.role = "tool";
    absl::Status status = ReadMember(fields, path, "tool_use_id", &result.tool_call_id);
    if (!status.ok()) return status;
    if (const std::optional<element> content = FindMember(fields, "content")) {
      status = ReadTextBlocks(*content, path + ".content", &result.content);
      if (!status.ok()) return status;
    }
    Push(std::move(result), path);
    has_results_ = true;
    return absl::OkStatus();
  }

  void Finish() {
    const bool only_results = std::exchange(has_results_, false) && !has_text_;
    if (only_results) return;
    chat::ChatMessage* last = call_->messages.empty() ? nullptr : &call_->messages.back();
    if (last == nullptr || last->role != turn_.role || turn_.role == "system") {
      Push(std::move(turn_), path_);
    } else if (turn_.role == "user") {
      AppendLine(turn_.content, &last->content);
    } else {
      last->content += turn_.content;
      last->reasoning_content += turn_.reasoning_content;
      for (chat::ChatToolCall& call : turn_.tool_calls) last->tool_calls.push_back(std::move(call));
    }
  }

  void Push(chat::ChatMessage message, std::string_view path) {
    call_->messages.push_back(std::move(message));
    call_->message_paths.emplace_back(path);
  }

  service::ChatCall* const call_;
  std::string path_;
  chat::ChatMessage turn_;    // without its results
  bool has_text_ = false;     // the turn's
  bool has_results_ = false;  // the turn's
};

}  // namespace

absl::Status ReadSystem(const element& value, std::string* out) { return ReadTextBlocks(value, "system", out); }

absl::Status ReadTurns(const element& value, service::ChatCall* call) {
  simdjson::dom::array turns;
  if (absl::Status status = ReadArray(value, "messages", &turns); !status.ok()) return status;
  if (turns.size() > service::kMaxMessages) {
    return InvalidField("messages", absl::StrCat("`messages` holds ", turns.size(), " messages; at most ",
                                                 service::kMaxMessages, " are allowed"));
  }
  TurnReader reader(call);
  size_t index = 0;
  for (const element turn : turns) {
    if (absl::Status status = reader.Read(turn, absl::StrCat("messages[", index++, "]")); !status.ok()) return status;
  }
  if (!call->messages.empty()) {
    chat::ChatMessage& last = call->messages.back();
    last.prefix = last.role == "assistant" && last.tool_calls.empty();
  }
  return absl::OkStatus();
}

}  // namespace hadal::http
