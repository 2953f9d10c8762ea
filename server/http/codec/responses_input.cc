// SPDX-License-Identifier: Apache-2.0
#include <simdjson.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "server/base/strings.h"
#include "server/http/codec/responses_codec.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using base::View;
using simdjson::dom::element;
using simdjson::dom::object;

// What a carried reasoning begins with; others' cannot be read here.
constexpr std::string_view kCarriedMark = "hadal1.";

// Parts that are text, whatever they are called.
bool IsTextPart(std::string_view type) {
  return type == "input_text" || type == "output_text" || type == "text" || type == "reasoning_text";
}

// A text, or an array of parts, whose texts are joined.
absl::Status ReadText(const element& value, const std::string& path, std::string* out) {
  if (value.is_string()) return ReadString(value, path, out);
  return ReadParts(value, path, "a string or an array of parts", [&](const object& fields, const std::string& here) {
    std::string type, text;
    absl::Status status = ReadMember(fields, here, "type", &type);
    if (status.ok() && !IsTextPart(type) && type != "refusal") {
      status = InvalidField(here, absl::StrCat("`", here, "` is a part of type \"", type.substr(0, kShownWordBytes),
                                               "\"; this server takes text only"));
    }
    if (status.ok()) status = ReadMember(fields, here, type == "refusal" ? "refusal" : "text", &text);
    out->append(text);
    return status;
  });
}

std::string ReasoningOf(std::string_view carried) {
  std::string text;
  if (!carried.starts_with(kCarriedMark)) return text;
  if (!absl::WebSafeBase64Unescape(View(carried.substr(kCarriedMark.size())), &text)) return std::string();
  return base::ToValidUtf8(text);
}

// Builds the call's messages item by item.
class ItemReader {
 public:
  explicit ItemReader(service::ChatCall* call) : call_(call) {}

  absl::Status Read(const element& item, std::string path) {
    path_ = std::move(path);
    object fields;
    std::string type = "message";
    absl::Status status = ReadObject(item, path_, &fields);
    if (status.ok()) status = ReadOptionalMember(fields, path_, "type", &type);
    if (!status.ok()) return status;
    if (type == "message") return ReadMessageItem(fields);
    if (type == "reasoning") return ReadReasoning(fields);
    if (type == "function_call") return ReadCall(fields);
    if (type == "function_call_output") return ReadOutput(fields);
    const std::string_view why = type == "item_reference" ? "; this server stores nothing that it could refer to" : "";
    return InvalidField(
        path_,
        absl::StrCat("`", path_, "` is an item of type \"", type.substr(0, kShownWordBytes),
                     "\"; this server takes message, reasoning, function_call and function_call_output", View(why)));
  }

 private:
  absl::Status ReadMessageItem(const object& fields) {
    chat::ChatMessage message;
    absl::Status status = ReadMember(fields, path_, "role", &message.role);
    if (!status.ok()) return status;
    const absl::StatusOr<element> content = NeededMember(fields, path_, "content");
    if (!content.ok()) return content.status();
    status = ReadText(*content, path_ + ".content", &message.content);
    if (!status.ok()) return status;
    // The text of a turn that began with reasoning or another text.
    chat::ChatMessage* open = OpenTurn();
    if (message.role == "assistant" && open != nullptr && open->tool_calls.empty()) {
      open->content += message.content;
      return absl::OkStatus();
    }
    Push(std::move(message));
    return absl::OkStatus();
  }

  absl::Status ReadReasoning(const object& fields) {
    std::string text, carried;
    absl::Status status = ReadOptionalMember(fields, path_, "encrypted_content", &carried);
    if (!status.ok()) return status;
    if (const std::optional<element> content = FindMember(fields, "content")) {
      status = ReadText(*content, path_ + ".content", &text);
      if (!status.ok()) return status;
    }
    if (text.empty()) text = ReasoningOf(carried);
    chat::ChatMessage* open = OpenTurn();
    if (open == nullptr || !open->content.empty() || !open->tool_calls.empty()) {
      Push({.role = "assistant"});
      open = &call_->messages.back();
    }
    open->reasoning_content += text;
    return absl::OkStatus();
  }

  absl::Status ReadCall(const object& fields) {
    chat::ChatToolCall call;
    absl::Status status = ReadMember(fields, path_, "call_id", &call.id);
    if (status.ok()) status = ReadMember(fields, path_, "name", &call.name);
    if (status.ok()) status = ReadMember(fields, path_, "arguments", &call.arguments);
    if (!status.ok()) return status;
    if (OpenTurn() == nullptr) Push({.role = "assistant"});
    std::vector<chat::ChatToolCall>& calls = call_->messages.back().tool_calls;
    if (calls.size() <= service::kMaxToolCallsPerMessage) calls.push_back(std::move(call));
    return absl::OkStatus();
  }

  absl::Status ReadOutput(const object& fields) {
    chat::ChatMessage message;
    message.role = "tool";
    absl::Status status = ReadMember(fields, path_, "call_id", &message.tool_call_id);
    if (!status.ok()) return status;
    const absl::StatusOr<element> output = NeededMember(fields, path_, "output");
    if (!output.ok()) return output.status();
    status = ReadText(*output, path_ + ".output", &message.content);
    if (status.ok()) Push(std::move(message));
    return status;
  }

  // The assistant's message that the last item belongs to; null when another's was the last.
  chat::ChatMessage* OpenTurn() {
    const bool open = !call_->messages.empty() && call_->messages.back().role == "assistant";
    return open ? &call_->messages.back() : nullptr;
  }

  void Push(chat::ChatMessage message) {
    call_->messages.push_back(std::move(message));
    call_->message_paths.push_back(path_);
  }

  service::ChatCall* const call_;
  std::string path_;
};

}  // namespace

std::string CarriedReasoning(std::string_view text) {
  return absl::StrCat(View(kCarriedMark), absl::WebSafeBase64Escape(View(text)));
}

absl::Status ReadInput(const element& value, service::ChatCall* call) {
  if (value.is_string()) {
    chat::ChatMessage message;
    message.role = "user";
    if (absl::Status status = ReadString(value, "input", &message.content); !status.ok()) return status;
    call->messages.push_back(std::move(message));
    call->message_paths.emplace_back("input");
    return absl::OkStatus();
  }
  simdjson::dom::array items;
  if (value.get_array().get(items) != simdjson::SUCCESS) {
    return WrongType("input", "a string or an array of items", value);
  }
  // An item becomes at most one message; many of them are counted before they are read.
  constexpr size_t kMaxItems = 4 * service::kMaxMessages;
  if (items.size() > kMaxItems) {
    return InvalidField("input", absl::StrCat("`input` holds ", items.size(), " items; at most ", kMaxItems,
                                              " are allowed, which make at most ", service::kMaxMessages, " messages"));
  }
  ItemReader reader(call);
  size_t index = 0;
  for (const element item : items) {
    if (absl::Status status = reader.Read(item, absl::StrCat("input[", index++, "]")); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace hadal::http
