// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/call_body.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "server/http/codec/chat_codec.h"
#include "server/http/codec/completion_codec.h"
#include "server/http/codec/messages_codec.h"
#include "server/http/codec/ollama_codec.h"
#include "server/http/codec/responses_codec.h"

namespace hadal::http {
namespace {

struct Context {
  Route route;
  int max_json_depth;
  const service::GenerateService& service;
};

// Each decoder also names the class that the body asks for (`tier`).
absl::Status DecodeChatCalls(std::string_view body, const Context& context, CallBody* out, std::string* tier) {
  absl::StatusOr<ChatBody> chat =
      DecodeChat(body, context.max_json_depth, /*allow_prompt=*/context.route == Route::kSimpleChat);
  if (!chat.ok()) return chat.status();
  const ResponseOptions& options = chat->response;
  *tier = options.service_tier;
  out->plan = {.stream = options.stream,
               .model = chat->call.options.model,
               .id_prefix = kChatIdPrefix,
               .make_encoder = [options](const ResponseHead& head, const Calls& calls) {
                 return options.stream ? MakeChatStreamEncoder(head, options, calls)
                                       : MakeChatEncoder(head, options, calls);
               }};
  out->request.calls.emplace_back(std::move(chat->call));
  return absl::OkStatus();
}

// The texts of the prompts that are given back.
absl::StatusOr<std::vector<std::string>> EchoOf(const CompletionBody& completion,
                                                const service::GenerateService& service) {
  std::vector<std::string> echo;
  if (!completion.echo) return echo;
  const service::CallOptions& options = completion.call.options;
  for (const PromptValue& prompt : completion.prompts) {
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      echo.push_back(*text);
      continue;
    }
    absl::StatusOr<std::string> decoded =
        service.Detokenize(options.model, std::get<std::vector<int32_t>>(prompt), options.skip_special_tokens);
    if (!decoded.ok()) return decoded.status();
    echo.push_back(*std::move(decoded));
  }
  return echo;
}

absl::Status DecodeCompletionCalls(std::string_view body, const Context& context, CallBody* out, std::string* tier) {
  absl::StatusOr<CompletionBody> completion = DecodeCompletion(body, context.max_json_depth);
  if (!completion.ok()) return completion.status();
  absl::StatusOr<std::vector<std::string>> echo = EchoOf(*completion, context.service);
  if (!echo.ok()) return echo.status();
  const ResponseOptions& options = completion->response;
  *tier = options.service_tier;
  out->plan = {.stream = options.stream,
               .model = completion->call.options.model,
               .id_prefix = kCompletionIdPrefix,
               .make_encoder = [options, logprobs = completion->call.options.top_logprobs.has_value(),
                                echo = *std::move(echo)](const ResponseHead& head, const Calls& calls) mutable {
                 return options.stream ? MakeCompletionStreamEncoder(head, options, calls, std::move(echo), logprobs)
                                       : MakeCompletionEncoder(head, options, calls, std::move(echo), logprobs);
               }};
  for (PromptValue& prompt : completion->prompts) {
    service::GenerateCall call = completion->call;
    call.prompt = std::move(prompt);
    out->request.calls.emplace_back(std::move(call));
  }
  return absl::OkStatus();
}

absl::Status DecodeMessagesCall(std::string_view body, const Context& context, CallBody* out) {
  absl::StatusOr<MessagesBody> messages = DecodeMessages(body, context.max_json_depth);
  if (!messages.ok()) return messages.status();
  out->plan = {.stream = messages->response.stream,
               .model = messages->call.options.model,
               .id_prefix = kMessagesIdPrefix,
               .make_encoder = [options = messages->response](const ResponseHead& head, const Calls& calls) {
                 return options.stream ? MakeMessagesStreamEncoder(head, options, calls)
                                       : MakeMessagesEncoder(head, options, calls);
               }};
  out->request.calls.emplace_back(std::move(messages->call));
  return absl::OkStatus();
}

absl::Status DecodeResponsesCall(std::string_view body, const Context& context, CallBody* out, std::string* tier) {
  absl::StatusOr<ResponsesBody> responses = DecodeResponses(body, context.max_json_depth);
  if (!responses.ok()) return responses.status();
  *tier = std::move(responses->service_tier);
  const bool stream = responses->response.stream;
  out->plan = {
      .stream = stream,
      .model = responses->call.options.model,
      .id_prefix = kResponsesIdPrefix,
      .make_encoder = [stream, options = std::move(responses->response)](const ResponseHead& head, const Calls& calls) {
        return stream ? MakeResponsesStreamEncoder(head, options, calls) : MakeResponsesEncoder(head, options, calls);
      }};
  out->request.calls.emplace_back(std::move(responses->call));
  return absl::OkStatus();
}

absl::Status DecodeOllamaCall(std::string_view body, const Context& context, CallBody* out) {
  absl::StatusOr<OllamaBody> ollama = context.route == Route::kOllamaChat
                                          ? DecodeOllamaChat(body, context.max_json_depth)
                                          : DecodeOllamaGenerate(body, context.max_json_depth);
  if (!ollama.ok()) return ollama.status();
  service::CallOptions& call = std::visit([](auto& one) -> service::CallOptions& { return one.options; }, ollama->call);
  out->plan = {.stream = ollama->response.stream,
               .model = call.model,
               .make_encoder = [options = ollama->response](const ResponseHead& head, const Calls& calls) {
                 return MakeOllamaEncoder(head, options, calls);
               }};
  call.model = WithoutTag(call.model, context.service);
  out->request.calls.push_back(std::move(ollama->call));
  return absl::OkStatus();
}

absl::Status Decode(std::string_view body, const Context& context, CallBody* out, std::string* tier) {
  switch (context.route) {
    case Route::kOllamaChat:
    case Route::kOllamaGenerate:
      return DecodeOllamaCall(body, context, out);
    case Route::kCompletions:
      return DecodeCompletionCalls(body, context, out, tier);
    case Route::kMessages:
      return DecodeMessagesCall(body, context, out);
    case Route::kResponses:
      return DecodeResponsesCall(body, context, out, tier);
    default:
      return DecodeChatCalls(body, context, out, tier);
  }
}

}  // namespace

ResponseHead HeadOf(const ResponsePlan& plan, const Calls& calls, std::string_view id, absl::Time arrival) {
  const service::ServedModel& model = calls.front()->model();
  ResponseHead head;
  head.id.append(plan.id_prefix).append(id);
  head.created_unix_s =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  // Another model than the one asked for is named.
  const bool own_name = plan.model.empty() || calls.front()->degraded() == service::Rung::kModel;
  head.model = own_name ? model.name : plan.model;
  head.fingerprint = model.info.fingerprint;
  head.arrival = arrival;
  return head;
}

absl::StatusOr<CallBody> DecodeCallBody(std::string_view body, Route route, int max_json_depth,
                                        bool priority_from_header, const service::GenerateService& service) {
  CallBody out;
  std::string tier;
  out.request.body_bytes = static_cast<int64_t>(body.size());
  if (absl::Status status = Decode(body, {route, max_json_depth, service}, &out, &tier); !status.ok()) return status;
  if (!priority_from_header && !tier.empty()) {
    absl::StatusOr<std::optional<request::Priority>> priority = PriorityOfTier(tier);
    if (!priority.ok()) return priority.status();
    out.request.priority = *priority;
  }
  return out;
}

}  // namespace hadal::http
