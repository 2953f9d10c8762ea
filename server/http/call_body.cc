// SPDX-License-Identifier: Apache-2.0
#include "server/http/call_body.h"

#include <cstdint>
#include <utility>
#include <variant>

#include "server/http/chat_codec.h"
#include "server/http/completion_codec.h"

namespace hadal::http {
namespace {

absl::Status DecodeChatCalls(std::string_view body, Route route, int max_json_depth, CallBody* out) {
  absl::StatusOr<ChatBody> chat = DecodeChat(body, max_json_depth, /*allow_prompt=*/route == Route::kSimpleChat);
  if (!chat.ok()) return chat.status();
  out->plan.chat = true;
  out->plan.options = std::move(chat->response);
  out->plan.model = chat->call.options.model;
  out->request.calls.emplace_back(std::move(chat->call));
  return absl::OkStatus();
}

absl::Status DecodeCompletionCalls(std::string_view body, int max_json_depth, const service::GenerateService& service,
                                   CallBody* out) {
  absl::StatusOr<CompletionBody> completion = DecodeCompletion(body, max_json_depth);
  if (!completion.ok()) return completion.status();
  const service::CallOptions& options = completion->call.options;
  out->plan.options = std::move(completion->response);
  out->plan.model = options.model;
  out->plan.logprobs = options.top_logprobs.has_value();
  for (PromptValue& prompt : completion->prompts) {
    if (completion->echo) {
      if (const auto* text = std::get_if<std::string>(&prompt)) {
        out->plan.echo.push_back(*text);
      } else {
        absl::StatusOr<std::string> decoded =
            service.Detokenize(options.model, std::get<std::vector<int32_t>>(prompt), options.skip_special_tokens);
        if (!decoded.ok()) return decoded.status();
        out->plan.echo.push_back(*std::move(decoded));
      }
    }
    service::GenerateCall call = completion->call;
    call.prompt = std::move(prompt);
    out->request.calls.emplace_back(std::move(call));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CallBody> DecodeCallBody(std::string_view body, Route route, int max_json_depth,
                                        bool priority_from_header, const service::GenerateService& service) {
  CallBody out;
  out.request.body_bytes = static_cast<int64_t>(body.size());
  const absl::Status status = route == Route::kCompletions ? DecodeCompletionCalls(body, max_json_depth, service, &out)
                                                           : DecodeChatCalls(body, route, max_json_depth, &out);
  if (!status.ok()) return status;
  if (!priority_from_header && !out.plan.options.service_tier.empty()) {
    absl::StatusOr<std::optional<request::Priority>> priority = PriorityOfTier(out.plan.options.service_tier);
    if (!priority.ok()) return priority.status();
    out.request.priority = *priority;
  }
  return out;
}

}  // namespace hadal::http
