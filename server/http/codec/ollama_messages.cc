// SPDX-License-Identifier: Apache-2.0
#include <simdjson.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/ollama_codec.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using base::View;
using simdjson::dom::element;
using simdjson::dom::object;

// A call that was made and has no answer yet.
struct OpenCall {
  std::string id;
  std::string tool;
};

absl::Status ReadCall(const element& value, const std::string& path, chat::ChatToolCall* call) {
  object fields, function;
  absl::Status status = ReadObject(value, path, &fields);
  if (status.ok()) status = ReadOptionalMember(fields, path, "id", &call->id);
  if (!status.ok()) return status;
  const absl::StatusOr<element> member = NeededMember(fields, path, "function");
  if (!member.ok()) return member.status();
  const std::string here = path + ".function";
  status = ReadObject(*member, here, &function);
  if (status.ok()) status = ReadMember(function, here, "name", &call->name);
  if (!status.ok()) return status;
  const std::optional<element> arguments = FindMember(function, "arguments");
  if (!arguments.has_value()) {
    call->arguments = "{}";
  } else if (arguments->is_object()) {
    call->arguments = simdjson::minify(*arguments);
  } else {
    return WrongType(here + ".arguments", "an object", *arguments);
  }
  return absl::OkStatus();
}

absl::Status ReadCalls(const element& value, const std::string& path, size_t message_index,
                       chat::ChatMessage* message) {
  simdjson::dom::array array;
  if (absl::Status status = ReadArray(value, path, &array); !status.ok()) return status;
  for (const element item : array) {
    const size_t index = message->tool_calls.size();
    if (index > service::kMaxToolCallsPerMessage) break;
    chat::ChatToolCall& call = message->tool_calls.emplace_back();
    if (absl::Status status = ReadCall(item, absl::StrCat(path, "[", index, "]"), &call); !status.ok()) return status;
    if (call.id.empty()) call.id = absl::StrCat("call_", message_index, "_", index);
  }
  return absl::OkStatus();
}

// One message; `tool` gets the name of the tool whose result it is, where it says so.
absl::Status ReadOllamaMessage(const element& value, size_t index, chat::ChatMessage* message, std::string* tool) {
  const std::string path = absl::StrCat("messages[", index, "]");
  object fields;
  absl::Status status = ReadObject(value, path, &fields);
  if (status.ok()) status = ReadMember(fields, path, "role", &message->role);
  if (status.ok()) status = ReadOptionalMember(fields, path, "content", &message->content);
  if (status.ok()) status = ReadOptionalMember(fields, path, "thinking", &message->reasoning_content);
  if (status.ok()) status = ReadOptionalMember(fields, path, "tool_call_id", &message->tool_call_id);
  if (status.ok()) status = ReadOptionalMember(fields, path, "tool_name", tool);
  if (status.ok() && tool->empty()) status = ReadOptionalMember(fields, path, "name", tool);
  if (!status.ok()) return status;
  if (const std::optional<element> images = FindMember(fields, "images")) {
    status = RefuseImages(*images, path + ".images");
    if (!status.ok()) return status;
  }
  if (const std::optional<element> calls = FindMember(fields, "tool_calls")) {
    status = ReadCalls(*calls, path + ".tool_calls", index, message);
  }
  return status;
}

// Gives the result at `path` the id of the call that it answers.
absl::Status Answer(const std::string& path, const std::string& tool, std::vector<OpenCall>* open,
                    chat::ChatMessage* result) {
  auto call =
      std::find_if(open->begin(), open->end(), [&](const OpenCall& one) { return one.id == result->tool_call_id; });
  if (call == open->end() && !tool.empty()) {
    call = std::find_if(open->begin(), open->end(), [&](const OpenCall& one) { return one.tool == tool; });
  }
  if (call == open->end() && tool.empty()) call = open->begin();
  if (call == open->end()) {
    return InvalidField(path, absl::StrCat("`", path, "` answers no call: none ",
                                           tool.empty() ? "is open"
                                                        : absl::StrCat("of \"", tool.substr(0, kShownWordBytes),
                                                                       "\" is open in front of it")));
  }
  result->tool_call_id = std::move(call->id);
  open->erase(call);
  return absl::OkStatus();
}

}  // namespace

absl::Status RefuseImages(const element& value, std::string_view path) {
  simdjson::dom::array images;
  if (absl::Status status = ReadArray(value, path, &images); !status.ok()) return status;
  if (images.size() == 0) return absl::OkStatus();
  return InvalidField(path, absl::StrCat("`", View(path), "` holds images; this server takes text only"));
}

absl::Status ReadOllamaMessages(const element& value, std::vector<chat::ChatMessage>* out) {
  out->clear();
  simdjson::dom::array array;
  if (absl::Status status = ReadArray(value, "messages", &array); !status.ok()) return status;
  if (array.size() > service::kMaxMessages) {
    return InvalidField("messages", absl::StrCat("`messages` holds ", array.size(), " messages; at most ",
                                                 service::kMaxMessages, " are allowed"));
  }
  std::vector<OpenCall> open;
  for (const element item : array) {
    const size_t index = out->size();
    chat::ChatMessage& message = out->emplace_back();
    std::string tool;
    if (absl::Status status = ReadOllamaMessage(item, index, &message, &tool); !status.ok()) return status;
    if (message.role == "tool") {
      const std::string path = absl::StrCat("messages[", index, "]");
      if (absl::Status status = Answer(path, tool, &open, &message); !status.ok()) return status;
      continue;
    }
    open.clear();
    for (const chat::ChatToolCall& call : message.tool_calls) open.push_back({call.id, call.name});
  }
  return absl::OkStatus();
}

}  // namespace hadal::http
