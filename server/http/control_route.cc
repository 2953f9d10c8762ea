// SPDX-License-Identifier: Apache-2.0
#include "server/http/control_route.h"

#include <string>
#include <string_view>

#include "server/http/codec/call_body.h"
#include "server/http/codec/json_body.h"
#include "server/http/codec/json_writer.h"

namespace hadal::http {
namespace {

constexpr std::string_view kReasoningEnd = "reasoning_end";

// The request's own id: what a response shows has its API's prefix.
std::string_view RequestIdOf(std::string_view response_id) {
  for (const std::string_view prefix : kResponseIdPrefixes) {
    if (response_id.starts_with(prefix)) return response_id.substr(prefix.size());
  }
  return response_id;
}

}  // namespace

absl::Status EndThinking(const UnaryContext& context, RequestBody* body, Response* response) {
  std::string id = context.parameter, action;
  const absl::Status parsed =
      ParseObject(body->text, context.max_json_depth, [&](std::string_view name, const simdjson::dom::element& value) {
        if (name == "id" && context.parameter.empty()) return ReadString(value, name, &id);
        if (name == "action") return ReadString(value, name, &action);
        return absl::OkStatus();
      });
  if (!parsed.ok()) return parsed;
  if (id.empty()) return InvalidField("id", "`id` is missing: that of the response whose reasoning is to be ended");
  if (action.empty()) return InvalidField("action", "`action` is missing: \"reasoning_end\"");
  if (action != kReasoningEnd) return UnknownWord("action", action, "\"reasoning_end\"");
  const absl::Status ended = context.service->thinking_controls().End(RequestIdOf(id), context.tenant);
  if (!ended.ok()) return ended;
  JsonWriter json(&response->body);
  json.BeginObject().Key("id").String(id).Key("object").String("chat.completion.control");
  json.Key("action").String(action).Key("success").Bool(true).EndObject();
  return absl::OkStatus();
}

}  // namespace hadal::http
